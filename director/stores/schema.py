"""The tables of the SQLite ledger, and the migrations that bring an older file up to date."""

from __future__ import annotations

import sqlite3

from director.errors import StoreError

_RESULT = """(
    job INTEGER NOT NULL, node INTEGER NOT NULL, step INTEGER NOT NULL,
    state TEXT NOT NULL, exit_code INTEGER, started_at REAL, finished_at REAL, execution_time REAL,
    roundtrip_time REAL, attempt INTEGER, reason TEXT NOT NULL, truncated INTEGER NOT NULL,
    out_len INTEGER NOT NULL, effects TEXT, output BLOB NOT NULL,
    PRIMARY KEY (job, node, step)
) WITHOUT ROWID"""

_FIRST = (
    """CREATE TABLE jobs (
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, kind TEXT NOT NULL,
        state TEXT NOT NULL, step_count INTEGER NOT NULL, node_count INTEGER NOT NULL,
        task_count INTEGER NOT NULL,
        created_at REAL NOT NULL, started_at REAL, finished_at REAL, submitted_by TEXT NOT NULL, counts TEXT,
        digest TEXT NOT NULL, cancel_at REAL, cancel_reason TEXT NOT NULL)""",
    "CREATE INDEX jobs_state ON jobs (state, seq)",
    "CREATE INDEX jobs_created ON jobs (created_at)",
    # apart from jobs: large, seldom changed, and not part of a listing
    "CREATE TABLE plans (job INTEGER PRIMARY KEY, options TEXT NOT NULL, meta TEXT NOT NULL)",
    """CREATE TABLE chunks (
        job INTEGER NOT NULL, n INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (job, n))""",
    "CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    """CREATE TABLE job_nodes (
        job INTEGER NOT NULL, position INTEGER NOT NULL, node INTEGER NOT NULL, sent INTEGER NOT NULL,
        PRIMARY KEY (job, position)) WITHOUT ROWID""",
    "CREATE INDEX job_nodes_node ON job_nodes (node, job)",
    f"CREATE TABLE results {_RESULT}",
    f"CREATE TABLE late {_RESULT}",
    """CREATE TABLE rests (
        n INTEGER PRIMARY KEY, job INTEGER NOT NULL, node INTEGER NOT NULL, first INTEGER NOT NULL,
        last INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, at REAL)""",
    "CREATE UNIQUE INDEX rests_range ON rests (job, node, first, last)",
    """CREATE TABLE digests (
        job INTEGER NOT NULL, digest TEXT NOT NULL, size INTEGER, PRIMARY KEY (job, digest)) WITHOUT ROWID""",
    """CREATE TABLE nodes (
        name TEXT PRIMARY KEY, key, address, version, labels, facts, args, last_seen REAL, reason, state,
        mark, instance) WITHOUT ROWID""",
)

# jobs that were purged and whose many rows are deleted in small steps
_SECOND = ("CREATE TABLE doomed (job INTEGER PRIMARY KEY)",)

# when nodes were last seen, apart from nodes: it is written each minute, and their facts may be long
_THIRD = (
    "CREATE TABLE seen (name TEXT PRIMARY KEY, at REAL) WITHOUT ROWID",
    "INSERT INTO seen (name, at) SELECT name, last_seen FROM nodes WHERE last_seen IS NOT NULL",
)

# names of the glossary in docs/architecture.md; nothing read the size of a blob
_FOURTH = (
    "ALTER TABLE late RENAME TO late_results",
    "ALTER TABLE results RENAME COLUMN out_len TO stdout_size",
    "ALTER TABLE late_results RENAME COLUMN out_len TO stdout_size",
    "ALTER TABLE rests RENAME TO range_ends",
    "DROP INDEX rests_range",
    "CREATE UNIQUE INDEX range_ends_range ON range_ends (job, node, first, last)",
    "ALTER TABLE job_nodes RENAME COLUMN sent TO cursor",
    "ALTER TABLE nodes RENAME COLUMN mark TO journal_position",
    "ALTER TABLE doomed RENAME TO purged",
    "CREATE TABLE blobs (job INTEGER NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (job, digest)) WITHOUT ROWID",
    "INSERT INTO blobs SELECT job, digest FROM digests",
    "DROP TABLE digests",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _SECOND, _THIRD, _FOURTH)
"""MIGRATIONS[n] are the statements that turn version n into version n + 1; never change one, append."""

OF_A_JOB = ("results", "late_results", "range_ends", "chunks", "blobs", "plans", "job_nodes")
"""Tables whose rows are deleted with their job (column `job`)."""


def version_of(db: sqlite3.Connection) -> int:
    """The version of the schema in the file; 0 for a new file."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(db: sqlite3.Connection, migrations: tuple[tuple[str, ...], ...] = MIGRATIONS) -> None:
    """Bring the file up to the newest version, in one transaction.

    Raises: StoreError when a newer program wrote it.
    """
    version = version_of(db)
    if version > len(migrations):
        raise StoreError(
            f"a newer version of Director wrote the ledger (schema {version}, this one knows up to "
            f"{len(migrations)}); start that version, or use another --state-dir"
        )
    if version == len(migrations):
        return
    db.execute("BEGIN IMMEDIATE")
    for statements in migrations[version:]:
        for statement in statements:
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {len(migrations)}")
    db.execute("COMMIT")

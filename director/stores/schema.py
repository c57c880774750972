"""The tables of the SQLite ledger; each is one definition in `TABLES`."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from director.errors import StoreError

VERSION = 8  # of the schema; once released, a change of a table needs a higher one and a way for older files
EARLIER = 7  # a version that lacks the tables of the audit log and of secrets, and the columns `ADDED`; nothing else


class Table(NamedTuple):
    """A table.

    Attributes:
        columns: as CREATE TABLE takes them; `job` is the number of a job, `node` that of a node's name.
        options: what follows the columns.
        indexes: the columns of each index.
        of_a_job: whether its rows are deleted with their job.
    """

    name: str
    columns: str
    options: str = ""
    indexes: tuple[str, ...] = ()
    of_a_job: bool = False


_BY_KEY = "WITHOUT ROWID"
_RESULT = """
    job INTEGER NOT NULL, node INTEGER NOT NULL, step INTEGER NOT NULL,
    state TEXT NOT NULL, exit_code INTEGER, started_at REAL, finished_at REAL, execution_time REAL,
    roundtrip_time REAL, attempt INTEGER, reason TEXT NOT NULL, truncated INTEGER NOT NULL,
    stdout_size INTEGER NOT NULL, effects TEXT, output BLOB NOT NULL,
    PRIMARY KEY (job, node, step)"""

TABLES = (
    Table(
        "jobs",
        """seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, kind TEXT NOT NULL,
        state TEXT NOT NULL, step_count INTEGER NOT NULL, node_count INTEGER NOT NULL, task_count INTEGER NOT NULL,
        created_at REAL NOT NULL, started_at REAL, finished_at REAL, submitted_by TEXT NOT NULL, counts TEXT,
        digest TEXT NOT NULL, cancel_at REAL, cancel_reason TEXT NOT NULL""",
        indexes=("state, seq", "created_at"),
    ),
    Table("names", "id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE"),
    # apart from jobs: large, seldom changed, and not part of a listing
    Table("plans", "job INTEGER PRIMARY KEY, options TEXT NOT NULL, meta TEXT NOT NULL", of_a_job=True),
    Table(
        "chunks",
        "job INTEGER NOT NULL, first INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (job, first)",
        of_a_job=True,
    ),
    Table(
        "job_nodes",
        """job INTEGER NOT NULL, position INTEGER NOT NULL, node INTEGER NOT NULL, cursor INTEGER NOT NULL,
        PRIMARY KEY (job, position)""",
        _BY_KEY,
        indexes=("node, job",),
        of_a_job=True,
    ),
    # nodes that the job takes files or values from, and does not run on; by name
    Table("job_reads", "job INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (job, name)", _BY_KEY, of_a_job=True),
    Table("results", _RESULT, _BY_KEY, of_a_job=True),
    Table("late_results", _RESULT, _BY_KEY, of_a_job=True),
    Table(
        "range_ends",
        """n INTEGER PRIMARY KEY, job INTEGER NOT NULL, node INTEGER NOT NULL, first INTEGER NOT NULL,
        last INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, at REAL, UNIQUE (job, node, first, last)""",
        of_a_job=True,
    ),
    Table("blobs", "job INTEGER NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (job, digest)", _BY_KEY, of_a_job=True),
    # what was sealed for the nodes of an open job; rows are deleted when the job is final
    Table(
        "secrets",
        "job INTEGER NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (job, name)",
        _BY_KEY,
        of_a_job=True,
    ),
    Table(
        "boxes",
        "job INTEGER NOT NULL, node INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (job, node)",
        _BY_KEY,
        of_a_job=True,
    ),
    Table("purged", "job INTEGER PRIMARY KEY"),  # purged jobs whose many rows are deleted in small steps
    Table(
        "nodes",
        """name TEXT PRIMARY KEY, key, address, version, labels, facts, args, reason, journal_position, instance,
        revoked, token, renew_until, next_key, quarantine, sealing""",
        _BY_KEY,
    ),
    # when nodes were last seen, apart from nodes: it is written each minute, and their facts may be long
    Table("seen", "name TEXT PRIMARY KEY, at REAL", _BY_KEY),
    Table("tokens", "id TEXT PRIMARY KEY, body TEXT NOT NULL", _BY_KEY),
    Table(
        "revoked_keys",
        "key TEXT PRIMARY KEY, name TEXT NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL, superseded INTEGER NOT NULL",
        _BY_KEY,
        indexes=("superseded, at",),
    ),
    # lines of the audit log, the newest of which may not be in its files yet; and the end of their chain
    Table("audit", "number INTEGER PRIMARY KEY, line TEXT NOT NULL"),
    Table(
        "audit_head",
        """one INTEGER PRIMARY KEY, number INTEGER NOT NULL, hash TEXT NOT NULL, run TEXT NOT NULL,
        stamp INTEGER NOT NULL""",
    ),
)
ADDED = (("nodes", "sealing"),)
OF_A_JOB = tuple(table.name for table in TABLES if table.of_a_job)


def make(db: sqlite3.Connection) -> None:
    """Make the tables and columns that the file lacks, in one transaction.

    Raises:
        StoreError: another version of Director wrote the file. sqlite3.Error.
    """
    version = version_of(db)
    if version not in (0, EARLIER, VERSION):
        age = "an earlier" if version < VERSION else "a newer"
        raise StoreError(
            f"{age} version of Director wrote the ledger (schema {version}, this one knows {VERSION}); start that "
            "version, use another --state-dir, or move the ledger away and start with --new-ledger"
        )
    if version != VERSION:
        db.execute("BEGIN IMMEDIATE")
        there = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for name, columns, options, indexes, _ in (table for table in TABLES if table.name not in there):
            db.execute(f"CREATE TABLE {name} ({columns}) {options}")
            for number, index in enumerate(indexes):
                db.execute(f"CREATE INDEX {name}_{number} ON {name} ({index})")
        for name, column in ADDED if version == EARLIER else ():
            db.execute(f"ALTER TABLE {name} ADD COLUMN {column}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")


def version_of(db: sqlite3.Connection) -> int:
    """The version of the schema in the file; 0 for a new file. Raises sqlite3.Error."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version

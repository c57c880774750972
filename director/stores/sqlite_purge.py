"""SQL that deletes jobs: at once for small ones, in small steps for the rows of large ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from director.states import JOB_FINAL
from director.stores.schema import OF_A_JOB

SMALL = 5000  # tasks whose rows are deleted at once
FINAL_SQL = ", ".join(f"'{state}'" for state in sorted(JOB_FINAL))
_LARGE = (("results", "job, node, step"), ("late_results", "job, node, step"), ("range_ends", "n"))  # with their keys


def final(db: sqlite3.Connection, ids: Sequence[str]) -> list[int]:
    """The numbers of those of these jobs that are final."""
    query = f"SELECT seq FROM jobs WHERE id = ? AND state IN ({FINAL_SQL})"
    return [seq for id in ids for (seq,) in db.execute(query, (id,))]


def prunable(db: sqlite3.Connection, before: float, keep: int, limit: int) -> list[tuple[int, str]]:
    """(number, id) of the jobs that `prune` of `contract` deletes, oldest first."""
    row = db.execute("SELECT seq FROM jobs ORDER BY seq DESC LIMIT 1 OFFSET ?", (keep,)).fetchone()
    young = db.execute("SELECT seq FROM jobs WHERE +created_at >= ? ORDER BY seq LIMIT 1", (before,)).fetchone()
    if young is None:
        young = db.execute("SELECT COALESCE(MAX(seq), 0) + 1 FROM jobs").fetchone()
    last = max(young[0] - 1, row[0] if row else 0)
    query = f"SELECT seq, id FROM jobs WHERE seq <= ? AND +state IN ({FINAL_SQL}) ORDER BY seq LIMIT ?"
    return db.execute(query, (last, limit)).fetchall()


def delete(db: sqlite3.Connection, jobs: Sequence[int]) -> None:
    """Hide these jobs from all queries; rows of more than `SMALL` tasks in all are left to `delete_some`."""
    left = SMALL
    for seq in dict.fromkeys(jobs):
        tasks: int = db.execute("SELECT task_count FROM jobs WHERE seq = ?", (seq,)).fetchone()[0]
        db.execute("DELETE FROM jobs WHERE seq = ?", (seq,))
        db.execute("DELETE FROM blobs WHERE job = ?", (seq,))
        if tasks > left:
            db.execute("INSERT INTO purged (job) VALUES (?)", (seq,))
        else:
            left -= tasks
            _delete_rows(db, seq)


def delete_some(db: sqlite3.Connection, limit: int) -> bool:
    """Delete about `limit` rows of purged jobs; whether there are more."""
    found = db.execute("SELECT job FROM purged LIMIT 1").fetchone()
    if found is None:
        return False
    for table, key in _LARGE:
        some = f"SELECT {key} FROM {table} WHERE job = ? LIMIT ?"
        deleted = db.execute(f"DELETE FROM {table} WHERE ({key}) IN ({some})", (found[0], limit)).rowcount
        if deleted == limit:
            return True
    _delete_rows(db, found[0])
    db.execute("DELETE FROM purged WHERE job = ?", found)
    return True


def forget_sealed(db: sqlite3.Connection, job: int) -> None:
    """Delete what was sealed for the nodes of a job, and overwrite it in the file."""
    if db.execute("SELECT 1 FROM secrets WHERE job = ? LIMIT 1", (job,)).fetchone() is None:
        return
    db.execute("PRAGMA secure_delete = ON")
    try:
        for table in ("secrets", "boxes"):
            db.execute(f"DELETE FROM {table} WHERE job = ?", (job,))
    finally:
        db.execute("PRAGMA secure_delete = OFF")


def _delete_rows(db: sqlite3.Connection, seq: int) -> None:
    names = db.execute("SELECT node FROM job_nodes WHERE job = ?", (seq,)).fetchall()
    for table in OF_A_JOB:
        db.execute(f"DELETE FROM {table} WHERE job = ?", (seq,))
    unused = "DELETE FROM names WHERE id = ? AND NOT EXISTS (SELECT 1 FROM job_nodes WHERE node = names.id)"
    db.executemany(unused, names)

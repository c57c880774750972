"""Operations to SQL: one `do_<operation>` each, all inside the transaction that `apply` holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from director.protocol.results import TaskResult
from director.states import JOB_FINAL, JOB_QUEUED, JOB_RUNNING
from director.stores import sqlite_audit, sqlite_purge
from director.stores.audit_chain import Head
from director.stores.contract import NODE_FIELDS, SUPERSEDED, DuplicateJobError, GoneJobError, Op
from director.stores.rows import GIVEN, changes_of, clean, encode, range_ends_of, results_of

Row = tuple[Any, ...]
RESULT_COLUMNS = ", ".join(("job", "node", *(f for f in TaskResult._fields if f != "stderr_size"), "output"))
_VALUES = ",".join("?" * (RESULT_COLUMNS.count(",") + 1))
_KEEP = f"INSERT INTO results ({RESULT_COLUMNS}) VALUES ({_VALUES}) ON CONFLICT DO NOTHING"
_KEEP_LATE = f"INSERT INTO late_results ({RESULT_COLUMNS}) VALUES ({_VALUES}) ON CONFLICT DO NOTHING"
_SEEN = """INSERT INTO seen (at, name) SELECT ?, name FROM nodes WHERE name = ?
    ON CONFLICT (name) DO UPDATE SET at = excluded.at"""
IN_NODES = tuple(name for name in NODE_FIELDS if name != "last_seen")  # columns; the other one is in a table of its own
# a number that is not used by a job, nor by the rows of a purged job
_NEXT = """(SELECT 1 + MAX(COALESCE((SELECT MAX(seq) FROM jobs), 0), COALESCE((SELECT MAX(job) FROM purged), 0)))"""
_CACHED = 100_000


class Numbers:
    """The numbers that stand for the ids of jobs and for the names of nodes; those used lately are cached."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self._known: dict[tuple[str, str], int] = {}

    def forget(self) -> None:
        """Empty the cache: after a rollback or a purge it may be wrong."""
        self._known.clear()

    def job(self, job: str) -> int | None:
        """The number of a job, None when there is none."""
        return self._find("SELECT seq FROM jobs WHERE id = ?", job)

    def node(self, name: str) -> int | None:
        """The number of a node's name, None when no job has it."""
        return self._find("SELECT id FROM names WHERE name = ?", name)

    def pair(self, job: str, node: str) -> tuple[int, int] | None:
        """The numbers of a job and a node, None when either has none."""
        seq, number = self.job(job), self.node(node)
        return None if seq is None or number is None else (seq, number)

    def _find(self, query: str, key: str) -> int | None:
        found = self._known.get((query, key))
        if found is None and (row := self.db.execute(query, (key,)).fetchone()):
            if len(self._known) > _CACHED:
                self._known.clear()
            found = self._known[query, key] = int(row[0])
        return found


class Writer:
    """Writes operations as rows."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.numbers = Numbers(db)

    def write(self, ops: Iterable[Op]) -> None:
        """All operations in order; neighbours with the same name in one call.

        Raises:
            DuplicateJobError, GoneJobError, BadOperationError: as `Store.apply`. sqlite3.Error; `rows.MALFORMED` for
            fields that are missing or of another type.
        """
        for name, group in groupby(ops, key=lambda op: op[0]):
            getattr(self, f"do_{name}")(list(group))

    # jobs

    def do_accept(self, ops: list[Op]) -> None:
        """New jobs. Raises DuplicateJobError, GoneJobError."""
        for _, fields, *body in ops:
            row = self.db.execute("SELECT digest FROM jobs WHERE id = ?", (fields["id"],)).fetchone()
            if row is None:
                self._insert_job(fields, body[0] if body else ())
            elif row[0] != fields["digest"]:
                raise DuplicateJobError(f"there is another job with the id {fields['id']}")

    def _insert_job(self, fields: dict[str, Any], chunks: Sequence[bytes]) -> None:
        seq = self.db.execute(
            f"INSERT INTO jobs (seq, {', '.join(GIVEN)}, state, cancel_reason) VALUES ({_NEXT},?,?,?,?,?,?,?,?,?,?,'')",
            (*(clean(fields[name]) for name in GIVEN), JOB_QUEUED),
        ).lastrowid
        plan = (seq, encode(fields["options"]), encode(fields["meta"]))
        self.db.execute("INSERT INTO plans (job, options, meta) VALUES (?,?,?)", plan)
        rows = fields["meta"].get("chunks", ())
        bodies = ((seq, row["first"], bytes(chunk)) for row, chunk in zip(rows, chunks, strict=False))
        self.db.executemany("INSERT INTO chunks (job, first, body) VALUES (?,?,?)", bodies)
        digests = ((seq, digest) for digest in dict.fromkeys(fields.get("digests") or ()))
        self.db.executemany("INSERT INTO blobs (job, digest) VALUES (?,?)", digests)
        names, cursors = fields["nodes"], fields.get("cursors", {})
        self.db.executemany("INSERT INTO names (name) VALUES (?) ON CONFLICT DO NOTHING", ((name,) for name in names))
        rows = ((seq, n, self.numbers.node(name), cursors.get(name, 0)) for n, name in enumerate(names))
        self.db.executemany("INSERT INTO job_nodes (job, position, node, cursor) VALUES (?,?,?,?)", rows)
        reads = ((seq, name) for name in dict.fromkeys(fields.get("reads", ())))
        self.db.executemany("INSERT INTO job_reads (job, name) VALUES (?,?)", reads)
        if fields.get("resumes"):
            self._resume(seq, fields, not chunks)

    def _resume(self, seq: int | None, fields: dict[str, Any], with_chunks: bool) -> None:
        """Copy what succeeded in the resumed job, as cached and without outputs."""
        old = self.numbers.job(fields["resumes"])
        if old is None:
            raise GoneJobError(f"job {fields['resumes']} was purged meanwhile; submit it anew")
        if with_chunks:
            copied = "SELECT ?, first, body FROM chunks WHERE job = ?"
            self.db.execute(f"INSERT INTO chunks (job, first, body) {copied}", (seq, old))
        self.db.execute(
            f"""INSERT INTO results ({RESULT_COLUMNS})
                SELECT n.job, n.node, r.step, 'C', NULL, NULL, ?, NULL, NULL, 0, ?, 0, 0, r.effects, x''
                FROM job_nodes n CROSS JOIN results r ON r.job = ? AND r.node = n.node
                WHERE n.job = ? AND r.state IN ('S', 'C')""",
            (fields["created_at"], f"succeeded in {fields['resumes']}", old, seq),
        )
        again = (
            (seq, self.numbers.node(node), step) for node, steps in fields.get("again", {}).items() for step in steps
        )
        self.db.executemany("DELETE FROM results WHERE job = ? AND node = ? AND step = ?", again)

    def do_seal(self, ops: list[Op]) -> None:
        """What was sealed for the nodes of a new job."""
        for _, fields, *body in ops:
            found = self.db.execute("SELECT seq, state FROM jobs WHERE id = ?", (fields["job"],)).fetchone()
            if found is None or found[1] in JOB_FINAL:
                continue
            job, parts = found[0], [bytes(part) for part in (body[0] if body else ())]
            count = len(fields["names"])
            secrets = [(job, name, part) for name, part in zip(fields["names"], parts[:count], strict=True)]
            self.db.executemany("INSERT OR IGNORE INTO secrets VALUES (?,?,?)", secrets)
            boxes = zip(fields["nodes"], parts[count:], strict=True)
            rows = [(job, self.numbers.node(name), part) for name, part in boxes]
            self.db.executemany("INSERT OR IGNORE INTO boxes VALUES (?,?,?)", rows)

    def do_cursors(self, ops: list[Op]) -> None:
        rows = (
            (cursor, *pair)
            for _, fields, *_ in ops
            for node, cursor in fields["cursors"].items()
            if (pair := self.numbers.pair(fields["job"], node))
        )
        self.db.executemany("UPDATE job_nodes SET cursor = ? WHERE job = ? AND node = ?", rows)

    def do_job(self, ops: list[Op]) -> None:
        for _, fields, *_ in ops:
            where = f"id = ? AND state IN ('{JOB_QUEUED}', '{JOB_RUNNING}')"
            self._update("jobs", changes_of(fields), where, fields["id"])
            if fields.get("state") in JOB_FINAL and (job := self.numbers.job(fields["id"])) is not None:
                sqlite_purge.forget_sealed(self.db, job)

    def do_plan(self, ops: list[Op]) -> None:
        for _, fields, *_ in ops:
            self._update("plans", {"meta": encode(fields["meta"])}, "job = ?", self.numbers.job(fields["id"]))

    def _update(self, table: str, values: dict[str, Any], where: str, key: Any) -> None:
        if values:
            change = ", ".join(f"{name} = ?" for name in values)
            self.db.execute(f"UPDATE {table} SET {change} WHERE {where}", (*values.values(), key))

    # results

    def do_results(self, ops: list[Op]) -> None:
        first: list[Row] = []
        for _, fields, *body in ops:
            pair = self.numbers.pair(fields["job"], fields["node"])
            rows = _rows(pair or (0, 0), fields, *body)
            if pair is None:
                continue
            found = self.db.execute("SELECT first, last FROM range_ends WHERE job = ? AND node = ?", pair)
            if ended := found.fetchall():
                self.db.executemany(_KEEP, first)  # so that `_keep_late` sees the results of this call
                first = []
                rows = self._keep_late(rows, ended)
            first += rows
        self.db.executemany(_KEEP, first)

    def _keep_late(self, rows: list[Row], ended: list[tuple[int, int]]) -> list[Row]:
        """Write the rows of tasks that a range end ended as late results; returns the other rows."""
        kept = []
        for row in rows:
            if not any(first <= row[2] <= last for first, last in ended):
                kept.append(row)
            elif not self._known("1", row):
                self.db.execute(_KEEP_LATE, row)
        return kept

    def do_late_results(self, ops: list[Op]) -> None:
        for _, fields, *body in ops:
            pair = self.numbers.pair(fields["job"], fields["node"])
            cursor = self._cursor(pair) if pair else 0
            for row in _rows(pair or (0, 0), fields, *body):
                state, finished_at, attempt = row[3], row[6], row[9]
                given = 0 <= row[2] < cursor
                if given and self._known("state, finished_at, attempt", row) != (state, finished_at, attempt):
                    self.db.execute(_KEEP_LATE, row)

    def _cursor(self, pair: tuple[int, int]) -> int:
        """The first step of a job that the node was not given; 0 when the job is none of its own."""
        row = self.db.execute("SELECT cursor FROM job_nodes WHERE job = ? AND node = ?", pair).fetchone()
        return int(row[0]) if row else 0

    def _known(self, columns: str, row: Row) -> Row | None:
        """These columns of the task's result, None without one."""
        found = self.db.execute(f"SELECT {columns} FROM results WHERE job = ? AND node = ? AND step = ?", row[:3])
        known: Row | None = found.fetchone()
        return known

    def do_range_ends(self, ops: list[Op]) -> None:
        rows = (
            (*pair, *ended)
            for _, fields, *_ in ops
            for node, ended in range_ends_of(fields)
            if (pair := self.numbers.pair(fields["job"], node))
        )
        columns = "job, node, first, last, state, reason, at"
        self.db.executemany(f"INSERT INTO range_ends ({columns}) VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING", rows)

    # nodes

    def do_node(self, ops: list[Op]) -> None:
        for _, fields, *_ in ops:
            given = {name: _node_value(name, fields[name]) for name in IN_NODES if name in fields}
            self.db.execute("INSERT INTO nodes (name) VALUES (?) ON CONFLICT DO NOTHING", (fields["name"],))
            self._update("nodes", given, "name = ?", fields["name"])
            if "last_seen" in fields:
                self.db.execute(_SEEN, (fields["last_seen"], fields["name"]))

    def do_forget_node(self, ops: list[Op]) -> None:
        names = [(fields["name"],) for _, fields, *_ in ops]
        for table in ("nodes", "seen"):
            self.db.executemany(f"DELETE FROM {table} WHERE name = ?", names)

    def do_token(self, ops: list[Op]) -> None:
        rows = ((fields["id"], encode(fields)) for _, fields, *_ in ops)
        self.db.executemany("INSERT OR REPLACE INTO tokens (id, body) VALUES (?,?)", rows)

    def do_revoke_key(self, ops: list[Op]) -> None:
        rows = (
            (fields["key"], fields["name"], clean(fields["reason"]), fields["at"], bool(fields["superseded"]))
            for _, fields, *_ in ops
        )
        self.db.executemany("INSERT INTO revoked_keys VALUES (?,?,?,?,?) ON CONFLICT (key) DO UPDATE SET superseded = "
                            "MIN(superseded, excluded.superseded)", rows)  # fmt: skip
        self.db.execute("DELETE FROM revoked_keys WHERE key IN (SELECT key FROM revoked_keys WHERE superseded = 1 "
                        "ORDER BY at DESC LIMIT -1 OFFSET ?)", (SUPERSEDED,))  # fmt: skip

    def do_node_seen(self, ops: list[Op]) -> None:
        seen = ((at, name) for _, fields, *_ in ops for name, at in fields["seen"].items())
        self.db.executemany(_SEEN, seen)

    # the audit log

    def do_audit(self, ops: list[Op]) -> None:
        sqlite_audit.append(self.db, [fields for _, fields, *_ in ops])

    def do_audit_kept(self, ops: list[Op]) -> None:
        self.db.executemany("DELETE FROM audit WHERE number <= ?", [(fields["number"],) for _, fields, *_ in ops])

    def do_audit_head(self, ops: list[Op]) -> None:
        for _, fields, *_ in ops:
            sqlite_audit.set_head(self.db, Head(fields["number"], fields["hash"]))

    # purging

    def do_purge_jobs(self, ops: list[Op]) -> None:
        self._delete(sqlite_purge.final(self.db, [job for _, fields, *_ in ops for job in fields["ids"]]))

    def do_prune(self, ops: list[Op]) -> None:
        for _, fields, *_ in ops:
            found = sqlite_purge.prunable(self.db, fields["before"], fields["keep"], fields["limit"])
            self._delete([seq for seq, _ in found])

    def _delete(self, jobs: list[int]) -> None:
        sqlite_purge.delete(self.db, jobs)
        self.numbers.forget()


def _rows(pair: tuple[int, int], fields: dict[str, Any], body: bytes = b"") -> list[Row]:
    """The values of `RESULT_COLUMNS` for each result."""
    job, node = pair
    return [
        (job, node, step, state, code, started, finished, took, trip, attempt, reason or "", cut, out,
         encode(effects) if effects else None, output)
        for (step, state, code, started, finished, took, trip, attempt, reason, cut, out, _, effects), output
        in results_of(fields, body)
    ]  # fmt: skip


def _node_value(name: str, value: Any) -> Any:
    return encode(value) if name in ("labels", "args") else clean(value)

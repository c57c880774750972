"""Operations to SQL: one `handle_<operation>` each, all inside the transaction that `apply` holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from director.states import JOB_FINAL, JOB_QUEUED, JOB_RUNNING
from director.stores.contract import NODE_FIELDS, BadOperationError, DuplicateJobError, GoneJobError, Op
from director.stores.rows import (
    CHANGING,
    GIVEN,
    TaskRow,
    check_job_state,
    clean,
    cut_rests,
    cut_rows,
    digests_of,
    encode,
    plain,
)
from director.stores.schema import OF_A_JOB

RESULT_COLUMNS = ", ".join(("job", "node", *TaskRow._fields))
_MARKS = ",".join("?" * (2 + len(TaskRow._fields)))
_KEEP = f"INSERT INTO results ({RESULT_COLUMNS}) VALUES ({_MARKS}) ON CONFLICT DO NOTHING"
_KEEP_LATE = f"INSERT INTO late ({RESULT_COLUMNS}) VALUES ({_MARKS}) ON CONFLICT DO NOTHING"
_SEEN = """INSERT INTO seen (at, name) SELECT ?, name FROM nodes WHERE name = ?
    ON CONFLICT (name) DO UPDATE SET at = excluded.at"""
IN_NODES = tuple(name for name in NODE_FIELDS if name != "last_seen")  # columns; the other one is in a table of its own
SMALL = 5000  # tasks whose rows are deleted at once; those of more, or of a larger job, in steps
LARGE = (("results", "job, node, step"), ("late", "job, node, step"), ("rests", "n"))  # tables and their keys
_NEXT = """(SELECT 1 + MAX(COALESCE((SELECT MAX(seq) FROM jobs), 0), COALESCE((SELECT MAX(job) FROM doomed), 0)))"""
_KNOWN_JOBS = 10_000
_KNOWN_NAMES = 100_000


class Writer:
    """FairQueue operations into rows; knows the numbers of jobs and node names it met lately."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self._jobs: dict[str, int] = {}
        self._names: dict[str, int] = {}

    def write(self, ops: Iterable[Op]) -> None:
        """All operations in order; neighbours of one name together."""
        for name, group in groupby(ops, key=lambda op: op[0]):
            handle = getattr(self, f"handle_{name}", None)
            if handle is None:
                raise BadOperationError(f"the ledger knows no operation {name!r}")
            handle(list(group))

    def forget(self) -> None:
        """Drop what is known of numbers: after a rollback or a purge they may be wrong."""
        self._jobs.clear()
        self._names.clear()

    # numbers

    def job(self, job: str) -> int | None:
        """The number of a job, None when it is not there."""
        seq = self._jobs.get(job)
        if seq is None:
            row = self.db.execute("SELECT seq FROM jobs WHERE id = ?", (job,)).fetchone()
            if row is None:
                return None
            if len(self._jobs) > _KNOWN_JOBS:
                self._jobs.clear()
            seq = self._jobs[job] = row[0]
        return seq

    def node(self, name: str) -> int | None:
        """The number of a node's name, None when no job has it."""
        number = self._names.get(name)
        if number is None:
            row = self.db.execute("SELECT id FROM names WHERE name = ?", (name,)).fetchone()
            if row is None:
                return None
            if len(self._names) > _KNOWN_NAMES:
                self._names.clear()
            number = self._names[name] = row[0]
        return number

    def pair(self, job: str, node: str) -> tuple[int, int] | None:
        """The numbers of a job and a node, None when either is not there."""
        seq, number = self.job(job), self.node(node)
        return None if seq is None or number is None else (seq, number)

    # jobs

    def handle_accept(self, ops: list[Op]) -> None:
        for _, fields, *body in ops:
            row = self.db.execute("SELECT digest FROM jobs WHERE id = ?", (fields["id"],)).fetchone()
            if row is None:
                self._insert_job(fields, body[0] if body else ())
            elif row[0] != fields["digest"]:
                raise DuplicateJobError(f"there is another job with the id {fields['id']}")

    def _insert_job(self, fields: dict[str, Any], chunks: Sequence[bytes]) -> None:
        seq = self.db.execute(
            f"INSERT INTO jobs (seq, {', '.join(GIVEN)}, state, cancel_reason) VALUES ({_NEXT},?,?,?,?,?,?,?,?,?,?,'')",
            (*(plain(fields[name]) for name in GIVEN), JOB_QUEUED),
        ).lastrowid
        plan = (seq, encode(fields["options"]), encode(fields["meta"]))
        self.db.execute("INSERT INTO plans (job, options, meta) VALUES (?,?,?)", plan)
        bodies = ((seq, n, bytes(chunk)) for n, chunk in enumerate(chunks))
        self.db.executemany("INSERT INTO chunks (job, n, body) VALUES (?,?,?)", bodies)
        digests = ((seq, digest, size) for digest, size in digests_of(fields).items())
        self.db.executemany("INSERT INTO digests (job, digest, size) VALUES (?,?,?)", digests)
        names, sent = fields["nodes"], fields.get("sent", {})
        self.db.executemany("INSERT INTO names (name) VALUES (?) ON CONFLICT DO NOTHING", ((name,) for name in names))
        rows = ((seq, position, self.node(name), sent.get(name, 0)) for position, name in enumerate(names))
        self.db.executemany("INSERT INTO job_nodes (job, position, node, sent) VALUES (?,?,?,?)", rows)
        if fields.get("resumes"):
            self._take_over(seq, fields, not chunks)

    def _take_over(self, seq: int | None, fields: dict[str, Any], with_chunks: bool) -> None:
        """What had succeeded in the job that is resumed is cached in this one; outputs stay there."""
        old = self.job(fields["resumes"])
        if old is None:
            raise GoneJobError(f"job {fields['resumes']} was forgotten meanwhile; submit it anew")
        if with_chunks:
            self.db.execute("INSERT INTO chunks (job, n, body) SELECT ?, n, body FROM chunks WHERE job = ?", (seq, old))
        self.db.execute(
            f"""INSERT INTO results ({RESULT_COLUMNS})
                SELECT n.job, n.node, r.step, 'C', NULL, NULL, ?, NULL, NULL, 0, ?, 0, 0, r.effects, x''
                FROM job_nodes n CROSS JOIN results r ON r.job = ? AND r.node = n.node
                WHERE n.job = ? AND r.state IN ('S', 'C')""",
            (fields["created_at"], f"succeeded in {fields['resumes']}", old, seq),
        )

    def handle_sent(self, ops: list[Op]) -> None:
        rows = (
            (upto, *pair)
            for _, fields, *_ in ops
            for node, upto in fields["upto"].items()
            if (pair := self.pair(fields["job"], node))
        )
        self.db.executemany("UPDATE job_nodes SET sent = ? WHERE job = ? AND node = ?", rows)

    def handle_job(self, ops: list[Op]) -> None:
        for _, fields, *_ in ops:
            values: dict[str, Any] = {name: fields[name] for name in CHANGING if name in fields}
            check_job_state(fields)
            if "counts" in fields:
                values["counts"] = encode(fields["counts"])
            if "cancel_reason" in fields:
                values["cancel_reason"] = clean(fields["cancel_reason"])
            if values:
                change = ", ".join(f"{name} = ?" for name in values)
                where = f"id = ? AND state IN ('{JOB_QUEUED}', '{JOB_RUNNING}')"
                self.db.execute(f"UPDATE jobs SET {change} WHERE {where}", (*values.values(), fields["id"]))

    def handle_plan(self, ops: list[Op]) -> None:
        for _, fields, *_ in ops:
            seq = self.job(fields["id"])
            if seq is not None:
                self.db.execute("UPDATE plans SET meta = ? WHERE job = ?", (encode(fields["meta"]), seq))

    # results

    def handle_results(self, ops: list[Op]) -> None:
        first: list[tuple[Any, ...]] = []
        for _, fields, *body in ops:
            pair = self.pair(fields["job"], fields["node"])
            rows = _cut(pair or (0, 0), fields, body)
            if pair is None:
                continue
            ended = self._ended(pair)
            if ended:
                self.db.executemany(_KEEP, first)  # so that a row of this very call is seen as the first
                first = []
                rows = self._not_ended(rows, ended)
            first += rows
        self.db.executemany(_KEEP, first)

    def handle_late(self, ops: list[Op]) -> None:
        for _, fields, *body in ops:
            pair = self.pair(fields["job"], fields["node"])
            rows = _cut(pair or (0, 0), fields, body)
            if pair:
                self.db.executemany(_KEEP_LATE, [row for row in rows if not self._is_kept(row)])

    def _is_kept(self, row: tuple[Any, ...]) -> bool:
        """Whether this very result is there: it came again as its acknowledgement was lost, and is not late."""
        columns = "state, finished_at, attempt"
        kept = self.db.execute(f"SELECT {columns} FROM results WHERE job = ? AND node = ? AND step = ?", row[:3])
        result = TaskRow(*row[2:])
        return kept.fetchone() == (result.state, result.finished_at, result.attempt)

    def handle_rest(self, ops: list[Op]) -> None:
        rows = (
            (*pair, *rest)
            for _, fields, *_ in ops
            for node, rest in cut_rests(fields["items"])
            if (pair := self.pair(fields["job"], node))
        )
        columns = "job, node, first, last, state, reason, at"
        self.db.executemany(f"INSERT INTO rests ({columns}) VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING", rows)

    def _ended(self, pair: tuple[int, int]) -> list[tuple[int, int]]:
        """The ranges of steps that rests ended on this node."""
        return self.db.execute("SELECT first, last FROM rests WHERE job = ? AND node = ?", pair).fetchall()

    def _not_ended(self, rows: list[tuple[Any, ...]], ended: list[tuple[int, int]]) -> list[tuple[Any, ...]]:
        """The rows of tasks that no rest ended; the others are kept as late, unless they are there."""
        kept = []
        for row in rows:
            if not any(first <= row[2] <= last for first, last in ended):
                kept.append(row)
            elif not self._has(row[:3]):
                self.db.execute(_KEEP_LATE, row)
        return kept

    def _has(self, task: tuple[Any, ...]) -> bool:
        found = self.db.execute("SELECT 1 FROM results WHERE job = ? AND node = ? AND step = ?", task)
        return found.fetchone() is not None

    # nodes

    def handle_node(self, ops: list[Op]) -> None:
        for _, fields, *_ in ops:
            given = {name: _node_value(name, fields[name]) for name in IN_NODES if name in fields}
            self.db.execute("INSERT INTO nodes (name) VALUES (?) ON CONFLICT DO NOTHING", (fields["name"],))
            if given:
                change = ", ".join(f"{name} = ?" for name in given)
                self.db.execute(f"UPDATE nodes SET {change} WHERE name = ?", (*given.values(), fields["name"]))
            if "last_seen" in fields:
                self.db.execute(_SEEN, (fields["last_seen"], fields["name"]))

    def handle_forget_node(self, ops: list[Op]) -> None:
        names = [(fields["name"],) for _, fields, *_ in ops]
        for table in ("nodes", "seen"):
            self.db.executemany(f"DELETE FROM {table} WHERE name = ?", names)

    def handle_node_seen(self, ops: list[Op]) -> None:
        seen = ((at, name) for _, fields, *_ in ops for name, at in fields["seen"].items())
        self.db.executemany(_SEEN, seen)

    # forgetting

    def handle_purge_jobs(self, ops: list[Op]) -> None:
        final = ", ".join(f"'{state}'" for state in sorted(JOB_FINAL))
        where = f"id = ? AND state IN ({final})"
        jobs = (job for _, fields, *_ in ops for job in fields["ids"])
        found = (self.db.execute(f"SELECT seq FROM jobs WHERE {where}", (job,)).fetchone() for job in jobs)
        self._delete_jobs(row[0] for row in found if row)

    def handle_prune(self, ops: list[Op]) -> None:
        for _, fields, *_ in ops:
            found = prunable(self.db, fields["before"], fields["keep"], fields["limit"])
            self._delete_jobs(seq for seq, _ in found)

    def _delete_jobs(self, jobs: Iterable[int]) -> None:
        room = SMALL
        for seq in jobs:
            room -= self._delete_job(seq, room)

    def _delete_job(self, seq: int, room: int) -> int:
        """Nobody sees the job any more; the rows of more than `room` tasks are left to `bury`. Tasks deleted here."""
        tasks: int = self.db.execute("SELECT task_count FROM jobs WHERE seq = ?", (seq,)).fetchone()[0]
        self.db.execute("DELETE FROM jobs WHERE seq = ?", (seq,))
        self.db.execute("DELETE FROM digests WHERE job = ?", (seq,))
        if tasks > room:
            self.db.execute("INSERT INTO doomed (job) VALUES (?)", (seq,))
        else:
            self._delete_rows(seq)
        self.forget()
        return 0 if tasks > room else tasks

    def bury(self, limit: int) -> bool:
        """Delete about `limit` rows of large jobs that are forgotten; whether there are more."""
        found = self.db.execute("SELECT job FROM doomed LIMIT 1").fetchone()
        if found is None:
            return False
        for table, key in LARGE:
            some = f"SELECT {key} FROM {table} WHERE job = ? LIMIT ?"
            gone = self.db.execute(f"DELETE FROM {table} WHERE ({key}) IN ({some})", (found[0], limit)).rowcount
            if gone == limit:
                return True
        self._delete_rows(found[0])
        self.db.execute("DELETE FROM doomed WHERE job = ?", found)
        return True

    def _delete_rows(self, seq: int) -> None:
        names = self.db.execute("SELECT node FROM job_nodes WHERE job = ?", (seq,)).fetchall()
        for table in OF_A_JOB:
            self.db.execute(f"DELETE FROM {table} WHERE job = ?", (seq,))
        unused = "DELETE FROM names WHERE id = ? AND NOT EXISTS (SELECT 1 FROM job_nodes WHERE node = names.id)"
        self.db.executemany(unused, names)
        self._names.clear()


def _cut(pair: tuple[int, int], fields: dict[str, Any], body: Sequence[bytes]) -> list[tuple[Any, ...]]:
    return list(cut_rows(fields, body[0] if body else b"", lambda *values: pair + values))


def _node_value(name: str, value: Any) -> Any:
    return encode(value) if name in ("labels", "args") else plain(value)


def prunable(db: sqlite3.Connection, before: float, keep: int, limit: int) -> Iterator[tuple[int, str]]:
    """(number, id) of the oldest final jobs created before `before` or not among the newest `keep` jobs.

    One that came after a younger one is not old: the clock was behind when it was created.
    """
    final = ", ".join(f"'{state}'" for state in sorted(JOB_FINAL))
    row = db.execute("SELECT seq FROM jobs ORDER BY seq DESC LIMIT 1 OFFSET ?", (keep,)).fetchone()
    young = db.execute("SELECT seq FROM jobs WHERE +created_at >= ? ORDER BY seq LIMIT 1", (before,)).fetchone()
    if young is None:
        young = db.execute("SELECT COALESCE(MAX(seq), 0) + 1 FROM jobs").fetchone()
    last = max(young[0] - 1, row[0] if row else 0)
    found = db.execute(
        f"SELECT seq, id FROM jobs WHERE seq <= ? AND +state IN ({final}) ORDER BY seq LIMIT ?", (last, limit)
    )
    return iter(found.fetchall())

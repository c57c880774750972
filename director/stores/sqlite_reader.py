"""SQL to jobs: what the shared queries need, each by an index, one result in memory at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import ujson

from director.errors import NotFoundError
from director.states import JOB_FINAL
from director.stores.queries import Pick, StoredJob
from director.stores.rows import GIVEN, Rest, TaskRow
from director.stores.serializers import JobHead

HEAD = ", ".join(f"j.{name}" for name in JobHead._fields)
_FINAL = ", ".join(f"'{state}'" for state in sorted(JOB_FINAL))
_RESULT = ", ".join(f"r.{name}" for name in TaskRow._fields)
_FACTS = (*GIVEN, "state", "started_at", "cancel_at", "cancel_reason")
_FEW_NODES = 64
_FEW_JOBS = 10_000
_ON_NODE = "FROM job_nodes n CROSS JOIN jobs j ON j.seq = n.job WHERE n.node = (SELECT id FROM names WHERE name = ?)"


class SqliteView(StoredJob):
    """One job inside a read transaction of `db`."""

    def __init__(self, db: sqlite3.Connection, job: str) -> None:
        self.db = db
        found = db.execute(f"SELECT j.seq, {HEAD} FROM jobs j WHERE id = ?", (job,)).fetchone()
        if found is None:
            raise NotFoundError(f"no such job: {job}")
        self.seq: int = found[0]
        self.head = JobHead._make(found[1:])
        options, meta = db.execute("SELECT options, meta FROM plans WHERE job = ?", (self.seq,)).fetchone()
        self.options, self.meta = ujson.loads(options), ujson.loads(meta)
        nodes = db.execute(
            """SELECT m.name, n.sent FROM job_nodes n JOIN names m ON m.id = n.node
               WHERE n.job = ? ORDER BY n.position""",
            (self.seq,),
        ).fetchall()
        self.nodes = [name for name, _ in nodes]
        self.sent = [sent for _, sent in nodes]
        self.rests = self._rests()
        late = db.execute("SELECT 1 FROM late WHERE job = ? LIMIT 1", (self.seq,))
        self._any_late = late.fetchone() is not None

    def chunk(self, n: int) -> bytes:
        return chunk(self.db, self.head.id, n)

    def states(self) -> Iterator[tuple[int, int, str]]:
        return self.db.execute(
            f"SELECT n.position, r.step, r.state {_of_job('results')} ORDER BY n.position, r.step",
            (self.seq,),
        )

    def rows(self, step: int) -> Iterator[tuple[int, TaskRow]]:
        return ((row[0], TaskRow._make(row[1:])) for row in self._step("results", step))

    def late(self, step: int) -> dict[int, TaskRow]:
        if not self._any_late:
            return {}
        return {row[0]: TaskRow._make(row[1:]) for row in self._step("late", step)}

    def seeded(self) -> list[str]:
        found = self.db.execute(
            """SELECT n.position FROM job_nodes n WHERE n.job = ? AND EXISTS (SELECT 1 FROM results r
               WHERE r.job = n.job AND r.node = n.node AND r.state IN ('S', 'C') AND r.effects IS NOT NULL)
               ORDER BY n.position""",
            (self.seq,),
        )
        return [self.nodes[position] for (position,) in found]

    def facts(self) -> dict[str, Any]:
        values = self.db.execute(f"SELECT {', '.join(_FACTS)} FROM jobs WHERE seq = ?", (self.seq,)).fetchone()
        facts = dict(zip(_FACTS, values, strict=True))
        return {**facts, "options": self.options, "meta": self.meta}

    def _step(self, table: str, step: int) -> sqlite3.Cursor:
        return self.db.execute(
            f"SELECT n.position, {_RESULT} {_of_job(table)} AND r.step = ? ORDER BY n.position",
            (self.seq, step),
        )

    def _rests(self) -> dict[int, list[Rest]]:
        found: dict[int, list[Rest]] = {}
        rests = self.db.execute(
            """SELECT n.position, r.first, r.last, r.state, r.reason, r.at FROM rests r
               JOIN job_nodes n ON n.job = r.job AND n.node = r.node WHERE r.job = ? ORDER BY r.n""",
            (self.seq,),
        )
        for position, *rest in rests:
            found.setdefault(position, []).append(Rest._make(rest))
        return found


def _of_job(table: str) -> str:
    """Nodes first, then their rows by the primary key: rows come in the order of the job's nodes."""
    return f"FROM job_nodes n CROSS JOIN {table} r ON r.job = n.job AND r.node = n.node WHERE n.job = ?"


def effects(db: sqlite3.Connection, job: str, node: str) -> list[tuple[int, str]]:
    """(step, JSON text) of a node's tasks that went well and had effects."""
    found = db.execute(
        """SELECT step, effects FROM results WHERE job = (SELECT seq FROM jobs WHERE id = ?)
           AND node = (SELECT id FROM names WHERE name = ?) AND state IN ('S', 'C') AND effects IS NOT NULL
           ORDER BY step""",
        (job, node),
    )
    return found.fetchall()


def chunk(db: sqlite3.Connection, job: str, n: int) -> bytes:
    """The n-th chunk of a job's steps; NotFoundError."""
    found = db.execute(
        "SELECT body FROM chunks WHERE job = (SELECT seq FROM jobs WHERE id = ?) AND n = ?", (job, n)
    ).fetchone()
    if found is None:
        raise NotFoundError(f"job {job} has no chunk {n}")
    return bytes(found[0])


def ids(db: sqlite3.Connection, final: bool | None, after: int, limit: int) -> list[tuple[int, str]]:
    """(number, id) of the next jobs behind number `after`."""
    state = "" if final is None else f"AND {'' if final else '+'}state {'' if final else 'NOT'} IN ({_FINAL})"
    found = db.execute(f"SELECT seq, id FROM jobs WHERE seq > ? {state} ORDER BY seq LIMIT ?", (after, limit))
    return found.fetchall()


def head(db: sqlite3.Connection, job: str) -> JobHead:
    """The head of the job with exactly this id; NotFoundError."""
    found = db.execute(f"SELECT {HEAD} FROM jobs j WHERE id = ?", (job,)).fetchone()
    if found is None:
        raise NotFoundError(f"no such job: {job}")
    return JobHead._make(found)


def starting_with(db: sqlite3.Connection, prefix: str, limit: int) -> list[str]:
    """At most `limit` ids that begin with `prefix`, sorted, by the index of ids."""
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    found = db.execute("SELECT id FROM jobs WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", (prefix, end, limit))
    return [job for (job,) in found]


def open_heads(db: sqlite3.Connection) -> list[JobHead]:
    """Heads of the jobs that are not final."""
    found = db.execute(f"SELECT {HEAD} FROM jobs j WHERE state IN ('queued', 'running') ORDER BY seq")
    return [JobHead._make(row) for row in found]


def pick(db: sqlite3.Connection, picked: Pick) -> list[JobHead]:
    """Heads of the jobs picked, oldest first: the newest of each source, merged."""
    limit = picked.limit or -1
    found: dict[int, JobHead] = {}
    for source, values in _sources(db, picked):
        for seq, *head in db.execute(f"SELECT j.seq, {HEAD} {source} DESC LIMIT ?", (*values, limit)):
            found[seq] = JobHead._make(head)
    newest = sorted(found)
    return [found[seq] for seq in (newest[-picked.limit :] if picked.limit else newest)]


def _sources(db: sqlite3.Connection, picked: Pick) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(FROM … ORDER BY, values) of queries that find all that is picked, newest first by an index."""
    since, bound = _since(db, picked)
    opened = ujson.dumps(picked.open_ids)
    final = ", ".join(f"'{state}'" for state in picked.final)
    state = f"(+j.state IN ({final}) OR j.id IN (SELECT value FROM json_each(?)))"
    if picked.nodes is not None:
        yield from _node_sources(picked.nodes, f"{state}{since}", (opened, *bound))
    elif len(picked.final) == len(JOB_FINAL):
        yield f"FROM jobs j WHERE {state}{since} ORDER BY j.seq", (opened, *bound)
    else:
        for name in picked.final:
            yield f"FROM jobs j WHERE j.state = ?{since} ORDER BY j.seq", (name, *bound)
        yield (
            f"FROM jobs j WHERE j.id IN (SELECT value FROM json_each(?)){since} ORDER BY j.seq",
            (opened, *bound),
        )


def _node_sources(nodes: tuple[str, ...], where: str, values: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The same for jobs on any of some nodes: few by the index of each node, many by a look at each job."""
    if len(nodes) <= _FEW_NODES:
        for node in nodes:
            yield f"{_ON_NODE} AND {where} ORDER BY n.job", (node, *values)
    else:
        known = "SELECT m.id FROM names m WHERE m.name IN (SELECT value FROM json_each(?))"
        on_any = f"EXISTS (SELECT 1 FROM job_nodes n WHERE n.job = j.seq AND n.node IN ({known}))"
        yield f"FROM jobs j WHERE {on_any} AND {where} ORDER BY j.seq", (ujson.dumps(nodes), *values)


def _since(db: sqlite3.Connection, picked: Pick) -> tuple[str, tuple[Any, ...]]:
    """A condition on the time of creation; where few jobs meet it, with a bound so that no older one is read."""
    since = picked.since
    if since is None:
        return "", ()
    newer = "FROM jobs WHERE created_at >= ?"
    few = db.execute(f"SELECT COUNT(*), MIN(seq) FROM (SELECT seq {newer} LIMIT ?)", (since, _FEW_JOBS)).fetchone()
    first = 0 if few[0] == _FEW_JOBS else few[1]
    return " AND j.seq >= ? AND +j.created_at >= ?", (1 << 62 if first is None else first, since)

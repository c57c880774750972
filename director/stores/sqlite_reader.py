"""SQL to jobs: the lookups behind the queries, each by an index, one result in memory at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import ujson

from director.errors import NotFoundError
from director.protocol.results import TaskResult
from director.protocol.sealing import to_text
from director.states import JOB_FINAL
from director.stores import sqlite_purge
from director.stores.contract import JobHead
from director.stores.rows import RangeRecord
from director.stores.sqlite_connection import Connections
from director.stores.sqlite_purge import FINAL_SQL
from director.stores.sqlite_writer import IN_NODES

HEAD = ", ".join(f"j.{name}" for name in JobHead._fields)
_COMPUTED = {"stderr_size": "length(r.output) - r.stdout_size", "effects": "NULL"}  # effects are not shown
_RESULT = ", ".join(_COMPUTED.get(name, f"r.{name}") for name in TaskResult._fields)
_PAGE = 1000
_FEW_NODES = 64
_FEW_JOBS = 10_000
_ON_NODE = "FROM job_nodes n CROSS JOIN jobs j ON j.seq = n.job WHERE n.node = (SELECT id FROM names WHERE name = ?)"
_SEEDED = "r.state IN ('S', 'C') AND r.effects IS NOT NULL"


class SqliteView:
    """One job inside a read transaction of `db`; a node is known by its position in `nodes`. Raises NotFoundError."""

    def __init__(self, db: sqlite3.Connection, job: str) -> None:
        self.db = db
        self.seq, self.head = _head(db, job)
        options, meta = self._select("SELECT options, meta FROM plans WHERE job = ?").fetchone()
        self.options: dict[str, Any] = ujson.loads(options)
        self.meta: dict[str, Any] = ujson.loads(meta)
        nodes = self._select(
            """SELECT m.name, n.cursor FROM job_nodes n JOIN names m ON m.id = n.node
               WHERE n.job = ? ORDER BY n.position"""
        ).fetchall()
        self.nodes: list[str] = [name for name, _ in nodes]
        self.cursors: list[int] = [cursor for _, cursor in nodes]
        self.range_ends: dict[int, list[RangeRecord]] = {}
        for position, *ended in self._select(
            """SELECT n.position, r.first, r.last, r.state, r.reason, r.at FROM range_ends r
               JOIN job_nodes n ON n.job = r.job AND n.node = r.node WHERE r.job = ? ORDER BY r.n"""
        ):
            self.range_ends.setdefault(position, []).append(RangeRecord._make(ended))
        self._any_late = self._select("SELECT 1 FROM late_results WHERE job = ? LIMIT 1").fetchone() is not None

    def _select(self, query: str, *values: Any) -> sqlite3.Cursor:
        return self.db.execute(query, (self.seq, *values))

    def chunks(self) -> Iterator[bytes]:
        """The chunks of encoded steps in their order."""
        query = "SELECT body FROM chunks WHERE job = (SELECT seq FROM jobs WHERE id = ?) ORDER BY first"
        return (bytes(body) for (body,) in self.db.execute(query, (self.head.id,)))

    def states(self) -> Iterator[tuple[int, int, str]]:
        """(position, step, state letter) of each result."""
        return self._select(f"SELECT n.position, r.step, r.state {_of_job('results')} ORDER BY n.position, r.step")

    def results(self, step: int) -> Iterator[tuple[int, TaskResult, bytes]]:
        """(position, result without effects, output) of one step by position."""
        return self._of_step("results", step)

    def late_results(self, step: int) -> Iterator[tuple[int, TaskResult, bytes]]:
        """The same of late results."""
        return self._of_step("late_results", step) if self._any_late else iter(())

    def _of_step(self, table: str, step: int) -> Iterator[tuple[int, TaskResult, bytes]]:
        query = f"SELECT n.position, r.output, {_RESULT} {_of_job(table)} AND r.step = ? ORDER BY n.position"
        return ((row[0], TaskResult._make(row[2:]), row[1]) for row in self._select(query, step))

    def withheld(self) -> list[tuple[int, int]]:
        """(position, step) of good results that set values which are in no ledger."""
        made = "r.state IN ('S', 'C') AND instr(r.effects, '\"withheld\":') > 0"
        return self._select(f"SELECT n.position, r.step {_of_job('results')} AND {made}").fetchall()

    def result(self, step: int, node: str) -> tuple[TaskResult, bytes] | None:
        """One result without effects, and its output; None without one."""
        row = self._select(
            f"""SELECT r.output, {_RESULT} FROM results r WHERE r.job = ?
               AND r.node = (SELECT id FROM names WHERE name = ?) AND r.step = ?""", node, step,
        ).fetchone()  # fmt: skip
        return None if row is None else (TaskResult._make(row[1:]), row[0])

    def seeded(self) -> list[str]:
        """Nodes with a result that is good and has effects, in the order of the job's nodes."""
        found = self._select(
            f"""SELECT n.position FROM job_nodes n WHERE n.job = ? AND EXISTS (SELECT 1 FROM results r
               WHERE r.job = n.job AND r.node = n.node AND {_SEEDED}) ORDER BY n.position"""
        )
        return [self.nodes[position] for (position,) in found]


def _of_job(table: str) -> str:
    """Nodes first, then their rows by the primary key: rows come in the order of the job's nodes."""
    return f"FROM job_nodes n CROSS JOIN {table} r ON r.job = n.job AND r.node = n.node WHERE n.job = ?"


class Pick(NamedTuple):
    """What a listing selects: final states, ids of open jobs, since when, on and within which nodes, how many."""

    final: tuple[str, ...]
    open_ids: tuple[str, ...]
    since: float | None
    nodes: tuple[str, ...] | None
    limit: int
    within: Sequence[str] | None = None


class Reader:
    """Lookups, for any thread. Each may raise StoreError."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._reading = connections.reading

    def _column(self, query: str, *values: Any) -> list[Any]:
        """The first column of what the query selects."""
        with self._reading() as db:
            return [row[0] for row in db.execute(query, values)]

    @contextmanager
    def view(self, job: str) -> Iterator[SqliteView]:
        """One job, unchanging inside the `with`. Raises NotFoundError."""
        with self._connections.view() as db:
            yield SqliteView(db, job)

    def ids(self, final: bool | None = None) -> Iterator[str]:
        """Ids, oldest first: of all jobs, the final or the open ones."""
        after = 0
        state = "" if final is None else f"AND {'' if final else '+'}state {'' if final else 'NOT'} IN ({FINAL_SQL})"
        while True:
            with self._reading() as db:
                query = f"SELECT seq, id FROM jobs WHERE seq > ? {state} ORDER BY seq LIMIT ?"
                page = db.execute(query, (after, _PAGE)).fetchall()
            if not page:
                return
            after = page[-1][0]
            yield from (job for _, job in page)

    def starting_with(self, prefix: str, limit: int) -> list[str]:
        """At most `limit` ids that begin with `prefix`, sorted."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        return self._column("SELECT id FROM jobs WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", prefix, end, limit)

    def newest(self) -> str | None:
        """The id of the newest job, None without jobs."""
        return next(iter(self._column("SELECT id FROM jobs ORDER BY seq DESC LIMIT 1")), None)

    def head(self, job: str) -> JobHead:
        """The head of a job. Raises NotFoundError."""
        with self._reading() as db:
            return _head(db, job)[1]

    def result(self, id: str, step: int, node: str) -> tuple[TaskResult, bytes] | None:
        """One result of a job without effects, and its output; None without one."""
        with self._reading() as db:
            row = db.execute(
                f"""SELECT r.output, {_RESULT} FROM results r WHERE r.job = (SELECT seq FROM jobs WHERE id = ?)
                   AND r.node = (SELECT id FROM names WHERE name = ?) AND r.step = ?""", (id, node, step),
            ).fetchone()  # fmt: skip
        return None if row is None else (TaskResult._make(row[1:]), row[0])

    def find(self, id: str) -> dict[str, str] | None:
        """See `Store.find`."""
        with suppress(NotFoundError):
            head = self.head(id)
            return {"state": head.state, "digest": head.digest}
        return None

    def reach(self, id: str) -> list[str]:
        """See `Store.reach`. Raises NotFoundError."""
        with self._reading() as db:
            seq, _ = _head(db, id)
            found = db.execute(
                """SELECT m.name FROM job_nodes n JOIN names m ON m.id = n.node WHERE n.job = ?
                   UNION SELECT name FROM job_reads WHERE job = ? ORDER BY 1""",
                (seq, seq),
            )
            return [name for (name,) in found]

    def reached(self) -> list[str]:
        """See `Store.reached`."""
        return self._column("SELECT name FROM names UNION SELECT name FROM job_reads ORDER BY 1")

    def is_within(self, job: str, names: Sequence[str] | None) -> bool:
        """Whether the job reaches none but these nodes; None for any."""
        if names is None:
            return True
        condition, values = _within(names)
        return bool(self._column(f"SELECT 1 FROM jobs j WHERE j.id = ?{condition}", job, *values))

    def open_heads(self) -> list[JobHead]:
        """Heads of all jobs that are not final."""
        with self._reading() as db:
            found = db.execute(f"SELECT {HEAD} FROM jobs j WHERE state IN ('queued', 'running') ORDER BY seq")
            return [JobHead._make(row) for row in found]

    def pick(self, pick: Pick) -> list[JobHead]:
        """Heads of the selected jobs, oldest first: the newest of each source, merged."""
        found: dict[int, JobHead] = {}
        with self._reading() as db:
            for source, values in _sources(db, pick):
                query = f"SELECT j.seq, {HEAD} {source} DESC LIMIT ?"
                for seq, *head in db.execute(query, (*values, pick.limit or -1)):
                    found[seq] = JobHead._make(head)
        return [found[seq] for seq in sorted(found)[-pick.limit :]]

    def prunable(self, before: float, keep: int, limit: int) -> list[str]:
        """See `Store.prunable`."""
        with self._reading() as db:
            return [job for _, job in sqlite_purge.prunable(db, before, keep, limit)]

    def chunk(self, job: str, step: int) -> bytes:
        """See `Store.chunk`."""
        with self._reading() as db:
            return _chunk(db, job, step)

    def effects(self, job: str, node: str) -> list[tuple[int, str]]:
        """See `Store.effects`."""
        with self._reading() as db:
            found = db.execute(
                f"""SELECT r.step, r.effects FROM results r WHERE r.job = (SELECT seq FROM jobs WHERE id = ?)
                   AND r.node = (SELECT id FROM names WHERE name = ?) AND {_SEEDED} ORDER BY r.step""",
                (job, node),
            )
            return found.fetchall()

    def nodes(self) -> list[dict[str, Any]]:
        """See `Store.nodes`."""
        names = ("name", "last_seen", *IN_NODES)
        query = f"SELECT name, at, {', '.join(IN_NODES)} FROM nodes LEFT JOIN seen USING (name) ORDER BY name"
        with self._reading() as db:
            found = [dict(zip(names, row, strict=True)) for row in db.execute(query)]
        return [{**row, **{name: ujson.loads(row[name] or "{}") for name in ("labels", "args")}} for row in found]

    def tokens(self) -> list[dict[str, Any]]:
        """See `Store.tokens`."""
        return list(map(ujson.loads, self._column("SELECT body FROM tokens ORDER BY id")))

    def sealed(self, job: str, node: str) -> dict[str, Any]:
        """See `Store.sealed`."""
        box = """SELECT b.body FROM boxes b JOIN jobs j ON j.seq = b.job JOIN names m ON m.id = b.node
            WHERE j.id = ? AND m.name = ?"""
        secrets = "SELECT s.name, s.body FROM secrets s JOIN jobs j ON j.seq = s.job WHERE j.id = ?"
        with self._reading() as db:
            found = db.execute(box, (job, node)).fetchone()
            rows = db.execute(secrets, (job,)).fetchall() if found else []
        return {"box": to_text(found[0]) if found else "", "secrets": {name: to_text(body) for name, body in rows}}

    def revoked_keys(self) -> list[dict[str, Any]]:
        """See `Store.revoked_keys`."""
        names = ("key", "name", "reason", "at", "superseded")
        with self._reading() as db:
            found = db.execute(f"SELECT {', '.join(names)} FROM revoked_keys ORDER BY key").fetchall()
        return [dict(zip(names, row, strict=True)) for row in found]

    def blobs(self) -> set[str]:
        """See `Store.blobs`."""
        return set(self._column("SELECT DISTINCT digest FROM blobs"))


def _head(db: sqlite3.Connection, job: str) -> tuple[int, JobHead]:
    """The number and the head of a job. Raises NotFoundError."""
    found = db.execute(f"SELECT j.seq, {HEAD} FROM jobs j WHERE id = ?", (job,)).fetchone()
    if found is None:
        raise NotFoundError(f"no such job: {job}")
    return found[0], JobHead._make(found[1:])


def _chunk(db: sqlite3.Connection, job: str, step: int) -> bytes:
    query = """SELECT body FROM chunks WHERE job = (SELECT seq FROM jobs WHERE id = ?) AND first <= ?
        ORDER BY first DESC LIMIT 1"""
    found = db.execute(query, (job, step)).fetchone()
    if found is None:
        raise NotFoundError(f"job {job} has no chunk with step {step}")
    return bytes(found[0])


def _sources(db: sqlite3.Connection, pick: Pick) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(FROM … ORDER BY, values) of queries that together find all selected jobs, newest first by an index."""
    since, bound = _since(db, pick.since)
    within, names = _within(pick.within)
    since, bound = since + within, (*bound, *names)
    opened = ujson.dumps(pick.open_ids)
    final = ", ".join(f"'{state}'" for state in pick.final)
    state = f"(+j.state IN ({final}) OR j.id IN (SELECT value FROM json_each(?)))"
    if pick.nodes is not None:
        yield from _node_sources(pick.nodes, f"{state}{since}", (opened, *bound))
    elif len(pick.final) == len(JOB_FINAL):
        yield f"FROM jobs j WHERE {state}{since} ORDER BY j.seq", (opened, *bound)
    else:
        for name in pick.final:
            yield f"FROM jobs j WHERE j.state = ?{since} ORDER BY j.seq", (name, *bound)
        yield f"FROM jobs j WHERE j.id IN (SELECT value FROM json_each(?)){since} ORDER BY j.seq", (opened, *bound)


def _node_sources(nodes: tuple[str, ...], where: str, values: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The same for jobs on any of some nodes: few nodes by the index of each, many by testing each job."""
    if len(nodes) <= _FEW_NODES:
        for node in nodes:
            yield f"{_ON_NODE} AND {where} ORDER BY n.job", (node, *values)
    else:
        known = "SELECT m.id FROM names m WHERE m.name IN (SELECT value FROM json_each(?))"
        on_any = f"EXISTS (SELECT 1 FROM job_nodes n WHERE n.job = j.seq AND n.node IN ({known}))"
        yield f"FROM jobs j WHERE {on_any} AND {where} ORDER BY j.seq", (ujson.dumps(nodes), *values)


def _within(names: Sequence[str] | None) -> tuple[str, tuple[Any, ...]]:
    """A condition for jobs that reach none but these nodes."""
    if names is None:
        return "", ()
    known = "SELECT value FROM json_each(?)"
    numbers = f"SELECT m.id FROM names m WHERE m.name IN ({known})"
    return (
        f" AND NOT EXISTS (SELECT 1 FROM job_nodes n WHERE n.job = j.seq AND n.node NOT IN ({numbers}))"
        f" AND NOT EXISTS (SELECT 1 FROM job_reads r WHERE r.job = j.seq AND r.name NOT IN ({known}))"
    ), (ujson.dumps(names),) * 2


def _since(db: sqlite3.Connection, since: float | None) -> tuple[str, tuple[Any, ...]]:
    """A condition on the time of creation; where few jobs meet it, with a bound so that no older one is read."""
    if since is None:
        return "", ()
    newer = "FROM jobs WHERE created_at >= ?"
    few = db.execute(f"SELECT COUNT(*), MIN(seq) FROM (SELECT seq {newer} LIMIT ?)", (since, _FEW_JOBS)).fetchone()
    first = 0 if few[0] == _FEW_JOBS else few[1]
    return " AND j.seq >= ? AND +j.created_at >= ?", (1 << 62 if first is None else first, since)

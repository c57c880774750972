"""The ledger in dictionaries: keeps nothing when the process ends, and shows the contract at its plainest."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ujson

from director.errors import NotFoundError
from director.states import JOB_FINAL, JOB_QUEUED
from director.stores.contract import NODE_FIELDS, BadOperationError, DuplicateJobError, GoneJobError, Op
from director.stores.queries import Pick, Queries, StoredJob
from director.stores.rows import (
    CHANGING,
    GIVEN,
    GOOD_LETTERS,
    Rest,
    TaskRow,
    check_job_state,
    clean,
    cut_rests,
    cut_rows,
    digests_of,
    encode,
    plain,
)
from director.stores.serializers import JobHead

FACTS = (*GIVEN, "state", "started_at", "cancel_at", "cancel_reason")


class MemoryJob:
    """One job; everything that changes is in dictionaries, so that a `Journal` can take it back."""

    def __init__(self, seq: int, fields: dict[str, Any], chunks: Sequence[bytes]) -> None:
        self.seq = seq
        self.fields = {
            **dict.fromkeys(("started_at", "finished_at", "counts", "cancel_at")),
            "state": JOB_QUEUED,
            "cancel_reason": "",
            **{name: plain(fields[name]) for name in GIVEN},
        }
        self.options, self.meta = encode(fields["options"]), encode(fields["meta"])
        self.chunks = [bytes(chunk) for chunk in chunks]
        self.digests = digests_of(fields)
        self.position = {name: index for index, name in enumerate(fields["nodes"])}
        self.sent = {name: fields.get("sent", {}).get(name, 0) for name in self.position}
        self.results: dict[tuple[int, int], TaskRow] = {}
        self.late: dict[tuple[int, int], TaskRow] = {}
        self.rests: dict[tuple[int, int, int], Rest] = {}

    @property
    def final(self) -> bool:
        """Whether its state can no longer change."""
        return self.fields["state"] in JOB_FINAL

    def head(self) -> JobHead:
        """What a listing needs."""
        return JobHead(**{name: self.fields[name] for name in JobHead._fields})

    def chunk(self, n: int) -> bytes:
        """The n-th chunk of steps; NotFoundError."""
        if not 0 <= n < len(self.chunks):
            raise NotFoundError(f"job {self.fields['id']} has no chunk {n}")
        return self.chunks[n]

    def ended(self, index: int, step: int) -> bool:
        """Whether a rest covers the task."""
        return any(i == index and first <= step <= last for i, first, last in self.rests)


class MemoryView(StoredJob):
    """A job as it was at one moment."""

    def __init__(self, job: MemoryJob) -> None:
        self.job = job
        self.head = job.head()
        self.meta = ujson.loads(job.meta)
        self.nodes = list(job.position)
        self.sent = list(job.sent.values())
        self.rests = {}
        for (index, _, _), rest in job.rests.items():
            self.rests.setdefault(index, []).append(rest)
        self._results, self._late = dict(job.results), dict(job.late)
        self._facts = {name: job.fields[name] for name in FACTS}

    def chunk(self, n: int) -> bytes:
        return self.job.chunk(n)

    def states(self) -> Iterator[tuple[int, int, str]]:
        return ((index, step, row.state) for (index, step), row in sorted(self._results.items()))

    def rows(self, step: int) -> Iterator[tuple[int, TaskRow]]:
        pairs = ((index, self._results.get((index, step))) for index in range(len(self.nodes)))
        return ((index, row) for index, row in pairs if row)

    def late(self, step: int) -> dict[int, TaskRow]:
        return {index: row for (index, at), row in self._late.items() if at == step}

    def seeded(self) -> list[str]:
        found = {index for (index, _), row in self._results.items() if row.state in GOOD_LETTERS and row.effects}
        return [self.nodes[index] for index in sorted(found)]

    def facts(self) -> dict[str, Any]:
        return {**self._facts, "options": ujson.loads(self.job.options), "meta": ujson.loads(self.job.meta)}


class Journal:
    """Changes dictionaries and can take all changes back: what makes `apply` all or nothing."""

    def __init__(self) -> None:
        self._undo: list[tuple[dict[Any, Any], Any, bool, Any]] = []

    def put(self, where: dict[Any, Any], key: Any, value: Any) -> None:
        self._undo.append((where, key, key in where, where.get(key)))
        where[key] = value

    def drop(self, where: dict[Any, Any], key: Any) -> None:
        if key in where:
            self._undo.append((where, key, True, where.pop(key)))

    def take_back(self) -> None:
        for where, key, was_there, value in reversed(self._undo):
            if was_there:
                where[key] = value
            else:
                del where[key]


def _is_same(kept: TaskRow | None, row: TaskRow) -> bool:
    """Whether this very result is there: it came again as its acknowledgement was lost, and is not late."""
    known = kept and (kept.state, kept.finished_at, kept.attempt)
    return known == (row.state, row.finished_at, row.attempt)


class MemoryStore(Queries):
    """`Store` in memory; a lock makes each call see whole applies only."""

    def __init__(self) -> None:
        self._jobs: dict[str, MemoryJob] = {}
        self._nodes: dict[str, dict[str, Any]] = {}
        self._seq = 0
        self._lock = threading.RLock()

    def apply(self, ops: Sequence[Op]) -> None:
        """See `Store.apply`."""
        journal = Journal()
        with self._lock:
            try:
                for name, *rest in ops:
                    _OPS[name](self, journal, *rest)
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                journal.take_back()
                raise BadOperationError(f"the ledger was given what it cannot keep: {error!r}") from error
            except Exception:
                journal.take_back()
                raise

    def tidy(self) -> bool:
        """See `Store.tidy`."""
        return False

    def close(self) -> None:
        """See `Store.close`."""

    # operations

    def _accept(self, journal: Journal, fields: dict[str, Any], chunks: Sequence[bytes] = ()) -> None:
        known = self._jobs.get(fields["id"])
        if known is None:
            self._seq += 1
            job = MemoryJob(self._seq, fields, chunks)
            if fields.get("resumes"):
                self._take_over(job, fields)
            journal.put(self._jobs, fields["id"], job)
        elif known.fields["digest"] != fields["digest"]:
            raise DuplicateJobError(f"there is another job with the id {fields['id']}")

    def _take_over(self, job: MemoryJob, fields: dict[str, Any]) -> None:
        """What had succeeded in the job that is resumed is cached in this one; outputs stay there."""
        old = self._jobs.get(fields["resumes"])
        if old is None:
            raise GoneJobError(f"job {fields['resumes']} was forgotten meanwhile; submit it anew")
        job.chunks = job.chunks or old.chunks
        names = list(old.position)
        reason = f"succeeded in {fields['resumes']}"
        for (index, step), row in old.results.items():
            here = job.position.get(names[index])
            if here is not None and row.state in GOOD_LETTERS:
                job.results[here, step] = TaskRow(
                    step, "C", None, None, fields["created_at"], None, None, 0, reason, 0, 0, row.effects, b""
                )

    def _sent(self, journal: Journal, fields: dict[str, Any]) -> None:
        job = self._jobs.get(fields["job"])
        for node, upto in fields["upto"].items():
            if job and node in job.sent:
                journal.put(job.sent, node, upto)

    def _results(self, journal: Journal, fields: dict[str, Any], body: bytes = b"") -> None:
        rows = list(cut_rows(fields, body))
        job = self._jobs.get(fields["job"])
        if job and fields["node"] in job.position:
            index = job.position[fields["node"]]
            for row in rows:
                if (index, row.step) not in job.results:
                    late = job.ended(index, row.step)
                    self._keep(journal, job.late if late else job.results, (index, row.step), row)

    def _late(self, journal: Journal, fields: dict[str, Any], body: bytes = b"") -> None:
        rows = list(cut_rows(fields, body))
        job = self._jobs.get(fields["job"])
        if job and fields["node"] in job.position:
            for row in rows:
                key = (job.position[fields["node"]], row.step)
                if not _is_same(job.results.get(key), row):
                    self._keep(journal, job.late, key, row)

    def _rest(self, journal: Journal, fields: dict[str, Any]) -> None:
        job = self._jobs.get(fields["job"])
        for node, rest in list(cut_rests(fields["items"])):
            if job and node in job.position:
                self._keep(journal, job.rests, (job.position[node], rest.first, rest.last), rest)

    def _change_job(self, journal: Journal, fields: dict[str, Any]) -> None:
        check_job_state(fields)
        job = self._jobs.get(fields["id"])
        if job is None or job.final:
            return
        for name in CHANGING:
            if name in fields:
                journal.put(job.fields, name, fields[name])
        if "counts" in fields:
            journal.put(job.fields, "counts", encode(fields["counts"]))
        if "cancel_reason" in fields:
            journal.put(job.fields, "cancel_reason", clean(fields["cancel_reason"]))

    def _plan(self, journal: Journal, fields: dict[str, Any]) -> None:
        job = self._jobs.get(fields["id"])
        if job is not None:
            journal.put(vars(job), "meta", encode(fields["meta"]))

    def _node(self, journal: Journal, fields: dict[str, Any]) -> None:
        empty = {"name": fields["name"], **dict.fromkeys(NODE_FIELDS), "labels": {}, "args": {}}
        given = {name: plain(fields[name]) for name in NODE_FIELDS if name in fields}
        journal.put(self._nodes, fields["name"], {**self._nodes.get(fields["name"], empty), **given})

    def _forget_node(self, journal: Journal, fields: dict[str, Any]) -> None:
        journal.drop(self._nodes, fields["name"])

    def _node_seen(self, journal: Journal, fields: dict[str, Any]) -> None:
        for name, at in fields["seen"].items():
            if name in self._nodes:
                journal.put(self._nodes, name, {**self._nodes[name], "last_seen": at})

    def _purge_jobs(self, journal: Journal, fields: dict[str, Any]) -> None:
        for job in fields["ids"]:
            if job in self._jobs and self._jobs[job].final:
                journal.drop(self._jobs, job)

    def _prune(self, journal: Journal, fields: dict[str, Any]) -> None:
        for job in self.prunable(fields["before"], fields["keep"], fields["limit"]):
            journal.drop(self._jobs, job)

    @staticmethod
    def _keep(journal: Journal, where: dict[Any, Any], key: Any, value: Any) -> None:
        if key not in where:
            journal.put(where, key, value)

    # what Queries needs

    @contextmanager
    def view(self, job: str) -> Iterator[StoredJob]:
        with self._lock:
            view = MemoryView(self._job(job))
        yield view

    def ids(self, final: bool | None = None) -> Iterator[str]:
        return iter([job.fields["id"] for job in self._sorted() if final is None or job.final == final])

    def starting_with(self, prefix: str, limit: int) -> list[str]:
        with self._lock:
            return sorted(job for job in self._jobs if job.startswith(prefix))[:limit]

    def newest(self) -> str | None:
        jobs = self._sorted()
        return jobs[-1].fields["id"] if jobs else None

    def head(self, job: str) -> JobHead:
        with self._lock:
            return self._job(job).head()

    def open_heads(self) -> list[JobHead]:
        return [job.head() for job in self._sorted() if not job.final]

    def pick(self, pick: Pick) -> list[JobHead]:
        found = [job.head() for job in self._sorted() if _picked(pick, job)]
        return found[-pick.limit :] if pick.limit else found

    def prunable(self, before: float, keep: int, limit: int) -> list[str]:
        """See `Store.prunable`."""
        jobs = self._sorted()
        young = next((n for n, job in enumerate(jobs) if job.fields["created_at"] >= before), len(jobs))
        old = jobs[: max(young, len(jobs) - keep)]
        return [job.fields["id"] for job in old if job.final][:limit]

    def chunk(self, job: str, n: int) -> bytes:
        """See `Store.chunk`."""
        with self._lock:
            return self._job(job).chunk(n)

    def effects(self, job: str, node: str) -> list[tuple[int, str]]:
        """See `Store.effects`."""
        with self._lock:
            found = self._jobs.get(job)
            index = found.position.get(node) if found else None
            rows = sorted(found.results.items()) if found else []
            well = [(step, row.effects) for (i, step), row in rows if i == index and row.state in GOOD_LETTERS]
            return [(step, effects) for step, effects in well if effects]

    def lost(self) -> str:
        """See `Store.lost`: it never was given anything that it still should have."""
        return ""

    def settle(self) -> None:
        """See `Store.settle`."""

    def nodes(self) -> list[dict[str, Any]]:
        """See `Store.nodes`."""
        with self._lock:
            return [dict(self._nodes[name]) for name in sorted(self._nodes)]

    def find(self, job: str) -> dict[str, str] | None:
        """See `Store.find`."""
        with self._lock:
            found = self._jobs.get(job)
            return {name: found.fields[name] for name in ("state", "digest")} if found else None

    def blobs_of(self, job: str) -> list[str]:
        """See `Store.blobs_of`."""
        with self._lock:
            return sorted(self._jobs[job].digests) if job in self._jobs else []

    def blobs(self) -> set[str]:
        """See `Store.blobs`."""
        with self._lock:
            return {digest for job in self._jobs.values() for digest in job.digests}

    def _job(self, job: str) -> MemoryJob:
        if job not in self._jobs:
            raise NotFoundError(f"no such job: {job}")
        return self._jobs[job]

    def _sorted(self) -> list[MemoryJob]:
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: job.seq)


def _picked(pick: Pick, job: MemoryJob) -> bool:
    state = job.fields["state"] in pick.final or job.fields["id"] in pick.open_ids
    since = pick.since is None or job.fields["created_at"] >= pick.since
    return state and since and (pick.nodes is None or any(name in job.position for name in pick.nodes))


_OPS: dict[str, Any] = {
    "accept": MemoryStore._accept,
    "sent": MemoryStore._sent,
    "results": MemoryStore._results,
    "late": MemoryStore._late,
    "rest": MemoryStore._rest,
    "job": MemoryStore._change_job,
    "plan": MemoryStore._plan,
    "node": MemoryStore._node,
    "forget_node": MemoryStore._forget_node,
    "node_seen": MemoryStore._node_seen,
    "purge_jobs": MemoryStore._purge_jobs,
    "prune": MemoryStore._prune,
}

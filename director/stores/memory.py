"""The ledger in dictionaries: keeps nothing when the process ends, and shows the contract at its plainest."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ujson

from director.errors import NotFoundError
from director.protocol.results import TaskResult
from director.states import JOB_FINAL, JOB_QUEUED
from director.stores.contract import NODE_FIELDS, DuplicateJobError, GoneJobError, JobHead, Op
from director.stores.queries import Pick, Queries
from director.stores.rows import (
    GIVEN,
    GOOD_LETTERS,
    MALFORMED,
    RangeRecord,
    changes_of,
    clean,
    digests_of,
    encode,
    malformed,
    range_ends_of,
    results_of,
)
from director.stores.serializers import JobView

Results = dict[tuple[int, int], tuple[TaskResult, bytes]]  # by position of the node and step


class MemoryJob:
    """One job; everything that changes is in dictionaries, so that `Undo` can restore it."""

    def __init__(self, seq: int, fields: dict[str, Any], chunks: Sequence[bytes]) -> None:
        self.seq = seq
        self.fields = {
            **dict.fromkeys(JobHead._fields),
            "state": JOB_QUEUED,
            "cancel_reason": "",
            **{name: clean(fields[name]) for name in GIVEN},
        }
        self.options, self.meta = encode(fields["options"]), encode(fields["meta"])
        self.chunks = [bytes(chunk) for chunk in chunks]
        self.digests = digests_of(fields)
        self.position = {name: index for index, name in enumerate(fields["nodes"])}
        self.cursors = {name: fields.get("cursors", {}).get(name, 0) for name in self.position}
        self.results: Results = {}
        self.late_results: Results = {}
        self.range_ends: dict[tuple[int, int, int], RangeRecord] = {}

    @property
    def final(self) -> bool:
        """Whether its state can no longer change."""
        return self.fields["state"] in JOB_FINAL

    def head(self) -> JobHead:
        """The job's fields as they are now."""
        return JobHead(**self.fields)

    def chunk(self, n: int) -> bytes:
        """The n-th chunk of steps. Raises NotFoundError."""
        if not 0 <= n < len(self.chunks):
            raise NotFoundError(f"job {self.fields['id']} has no chunk {n}")
        return self.chunks[n]

    def ended(self, index: int, step: int) -> bool:
        """Whether a range end covers the task."""
        return any(i == index and first <= step <= last for i, first, last in self.range_ends)

    def is_selected(self, pick: Pick) -> bool:
        """Whether a listing selects it."""
        state = self.fields["state"] in pick.final or self.fields["id"] in pick.open_ids
        since = pick.since is None or self.fields["created_at"] >= pick.since
        return state and since and (pick.nodes is None or any(name in self.position for name in pick.nodes))


class MemoryView(JobView):
    """A job as it was at one moment."""

    def __init__(self, job: MemoryJob) -> None:
        self.job = job
        self.head = job.head()
        self.options, self.meta = ujson.loads(job.options), ujson.loads(job.meta)
        self.nodes = list(job.position)
        self.cursors = list(job.cursors.values())
        self.range_ends = {}
        for (index, _, _), ended in job.range_ends.items():
            self.range_ends.setdefault(index, []).append(ended)
        self._results, self._late = dict(job.results), dict(job.late_results)

    def chunk(self, n: int) -> bytes:
        return self.job.chunk(n)

    def states(self) -> Iterator[tuple[int, int, str]]:
        return ((index, step, result.state) for (index, step), (result, _) in sorted(self._results.items()))

    def results(self, step: int) -> Iterator[tuple[int, TaskResult, bytes]]:
        return self._of_step(self._results, step)

    def late_results(self, step: int) -> Iterator[tuple[int, TaskResult, bytes]]:
        return self._of_step(self._late, step)

    def _of_step(self, results: Results, step: int) -> Iterator[tuple[int, TaskResult, bytes]]:
        return ((index, *results[index, step]) for index in range(len(self.nodes)) if (index, step) in results)

    def seeded(self) -> list[str]:
        found = {index for (index, _), (result, _) in self._results.items() if _has_seed(result)}
        return [self.nodes[index] for index in sorted(found)]


class Undo:
    """Changes dictionaries and can restore them: what makes `apply` all or nothing."""

    def __init__(self) -> None:
        self._changes: list[tuple[dict[Any, Any], Any, bool, Any]] = []

    def put(self, where: dict[Any, Any], key: Any, value: Any) -> None:
        self._changes.append((where, key, key in where, where.get(key)))
        where[key] = value

    def put_new(self, where: dict[Any, Any], key: Any, value: Any) -> None:
        """The same where the key is not there yet; else nothing."""
        if key not in where:
            self.put(where, key, value)

    def drop(self, where: dict[Any, Any], key: Any) -> None:
        if key in where:
            self._changes.append((where, key, True, where.pop(key)))

    def restore(self) -> None:
        for where, key, was_there, value in reversed(self._changes):
            if was_there:
                where[key] = value
            else:
                del where[key]


class Data(Queries):
    """Jobs and nodes, and the lookups on them; a lock makes each call see whole applies only."""

    def __init__(self) -> None:
        self._jobs: dict[str, MemoryJob] = {}
        self._nodes: dict[str, dict[str, Any]] = {}
        self._lock = threading.RLock()

    @contextmanager
    def view(self, job: str) -> Iterator[JobView]:
        with self._lock:
            view = MemoryView(self._job(job))
        yield view

    def ids(self, final: bool | None = None) -> Iterator[str]:
        return iter([job.fields["id"] for job in self._sorted() if final is None or job.final == final])

    def starting_with(self, prefix: str, limit: int) -> list[str]:
        with self._lock:
            return sorted(job for job in self._jobs if job.startswith(prefix))[:limit]

    def newest(self) -> str | None:
        return next(iter(list(self.ids())[-1:]), None)

    def head(self, job: str) -> JobHead:
        with self._lock:
            return self._job(job).head()

    def open_heads(self) -> list[JobHead]:
        return [job.head() for job in self._sorted() if not job.final]

    def pick(self, pick: Pick) -> list[JobHead]:
        found = [job.head() for job in self._sorted() if job.is_selected(pick)]
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
            results = sorted(found.results.items()) if found else []
        mine = (result for (i, _), (result, _) in results if i == index and _has_seed(result))
        return [(result.step, encode(result.effects)) for result in mine]

    def nodes(self) -> list[dict[str, Any]]:
        """See `Store.nodes`."""
        with self._lock:
            return [dict(self._nodes[name]) for name in sorted(self._nodes)]

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


class MemoryStore(Data):
    """`Store` in memory: one `_do_<operation>` for each operation."""

    def __init__(self) -> None:
        super().__init__()
        self._seq = 0

    def apply(self, ops: Sequence[Op]) -> None:
        """See `Store.apply`."""
        undo = Undo()
        with self._lock:
            try:
                for name, *rest in ops:
                    getattr(self, f"_do_{name}")(undo, *rest)
            except MALFORMED as error:
                undo.restore()
                raise malformed(error) from error
            except Exception:
                undo.restore()
                raise

    def tidy(self) -> bool:
        """See `Store.tidy`."""
        return False

    def close(self) -> None:
        """See `Store.close`."""

    def lost(self) -> str:
        """See `Store.lost`."""
        return ""

    def settle(self) -> None:
        """See `Store.settle`."""

    def _do_accept(self, undo: Undo, fields: dict[str, Any], chunks: Sequence[bytes] = ()) -> None:
        known = self._jobs.get(fields["id"])
        if known is None:
            self._seq += 1
            job = MemoryJob(self._seq, fields, chunks)
            if fields.get("resumes"):
                self._resume(job, fields)
            undo.put(self._jobs, fields["id"], job)
        elif known.fields["digest"] != fields["digest"]:
            raise DuplicateJobError(f"there is another job with the id {fields['id']}")

    def _resume(self, job: MemoryJob, fields: dict[str, Any]) -> None:
        """Copy what succeeded in the resumed job, as cached and without outputs."""
        old = self._jobs.get(fields["resumes"])
        if old is None:
            raise GoneJobError(f"job {fields['resumes']} was purged meanwhile; submit it anew")
        job.chunks = job.chunks or old.chunks
        names = list(old.position)
        reason = f"succeeded in {fields['resumes']}"
        for (index, step), (result, _) in old.results.items():
            here = job.position.get(names[index])
            if here is not None and result.state in GOOD_LETTERS:
                values = (step, "C", None, None, fields["created_at"], None, None, 0, reason, 0, 0, 0, result.effects)
                job.results[here, step] = TaskResult._make(values), b""

    def _do_cursors(self, undo: Undo, fields: dict[str, Any]) -> None:
        job = self._jobs.get(fields["job"])
        for node, cursor in fields["cursors"].items():
            if job and node in job.cursors:
                undo.put(job.cursors, node, cursor)

    def _do_results(self, undo: Undo, fields: dict[str, Any], body: bytes = b"") -> None:
        found = [(TaskResult._make(values), output) for values, output in results_of(fields, body)]
        job = self._jobs.get(fields["job"])
        index = job.position.get(fields["node"]) if job else None
        for result, output in found:
            key = (index, result.step)
            if job and index is not None and key not in job.results:
                late = job.ended(index, result.step)
                undo.put_new(job.late_results if late else job.results, key, (result, output))

    def _do_late_results(self, undo: Undo, fields: dict[str, Any], body: bytes = b"") -> None:
        found = [(TaskResult._make(values), output) for values, output in results_of(fields, body)]
        job = self._jobs.get(fields["job"])
        if job and fields["node"] in job.position:
            for result, output in found:
                key = (job.position[fields["node"]], result.step)
                if key not in job.results or not _is_same(job.results[key][0], result):
                    undo.put_new(job.late_results, key, (result, output))

    def _do_range_ends(self, undo: Undo, fields: dict[str, Any]) -> None:
        job = self._jobs.get(fields["job"])
        for node, ended in list(range_ends_of(fields)):
            if job and node in job.position:
                undo.put_new(job.range_ends, (job.position[node], ended.first, ended.last), ended)

    def _do_job(self, undo: Undo, fields: dict[str, Any]) -> None:
        changes = changes_of(fields)
        job = self._jobs.get(fields["id"])
        if job is not None and not job.final:
            for name, value in changes.items():
                undo.put(job.fields, name, value)

    def _do_plan(self, undo: Undo, fields: dict[str, Any]) -> None:
        job = self._jobs.get(fields["id"])
        if job is not None:
            undo.put(vars(job), "meta", encode(fields["meta"]))

    def _do_node(self, undo: Undo, fields: dict[str, Any]) -> None:
        empty = {"name": fields["name"], **dict.fromkeys(NODE_FIELDS), "labels": {}, "args": {}}
        given = {name: clean(fields[name]) for name in NODE_FIELDS if name in fields}
        undo.put(self._nodes, fields["name"], {**self._nodes.get(fields["name"], empty), **given})

    def _do_forget_node(self, undo: Undo, fields: dict[str, Any]) -> None:
        undo.drop(self._nodes, fields["name"])

    def _do_node_seen(self, undo: Undo, fields: dict[str, Any]) -> None:
        for name, at in fields["seen"].items():
            if name in self._nodes:
                undo.put(self._nodes, name, {**self._nodes[name], "last_seen": at})

    def _do_purge_jobs(self, undo: Undo, fields: dict[str, Any]) -> None:
        for job in fields["ids"]:
            if job in self._jobs and self._jobs[job].final:
                undo.drop(self._jobs, job)

    def _do_prune(self, undo: Undo, fields: dict[str, Any]) -> None:
        for job in self.prunable(fields["before"], fields["keep"], fields["limit"]):
            undo.drop(self._jobs, job)


def _is_same(known: TaskResult, result: TaskResult) -> bool:
    """Whether the known result was sent again, as its acknowledgement was lost."""
    return (known.state, known.finished_at, known.attempt) == (result.state, result.finished_at, result.attempt)


def _has_seed(result: TaskResult) -> bool:
    return result.state in GOOD_LETTERS and bool(result.effects)

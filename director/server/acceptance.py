"""Takes in jobs: new ones, all of a submission or none, and those that were open when the former server ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ujson

from director import states as st
from director.errors import StoreError
from director.runtime.greenlets import Pace, breathe
from director.scheduler import build, ends
from director.scheduler.blocks import reach_of, stage_nodes
from director.scheduler.job_state import JobRun
from director.server.dispatcher import Dispatcher, Slice
from director.server.ledger_client import LedgerClient
from director.server.lifecycle import Lifecycle
from director.server.open_jobs import OpenJobs, to_monotonic
from director.server.presence import Presence
from director.server.sealed_secrets import Sealed


@dataclass(slots=True)
class Accepted:
    """A plan that is to become a job.

    Attributes:
        meta: of the plan.
        chunks: encoded steps.
        record: the fields of the store's `accept` that come from the submission.
        succeeded: see `build.mark_cached`.
        entry: makes the line of the audit log, from the nodes that the job reaches.
        sealed: the secrets of the job, None without any.
    """

    meta: dict[str, Any]
    chunks: list[bytes]
    record: dict[str, Any]
    succeeded: Mapping[str, str] = field(default_factory=dict)
    entry: Callable[[Iterable[str]], Any] | None = None
    sealed: Sealed | None = None


class Acceptance:
    """Makes plans, and what the ledger holds of open jobs, into jobs of the scheduler."""

    def __init__(
        self, jobs: OpenJobs, lifecycle: Lifecycle, presence: Presence, dispatcher: Dispatcher, ledger: LedgerClient
    ) -> None:
        self._jobs, self._lifecycle, self._presence = jobs, lifecycle, presence
        self._dispatcher, self._ledger = dispatcher, ledger

    def accept(self, jobs: Sequence[Accepted]) -> None:
        """Make jobs durable, all or none, and begin them; returns when they are on disk.

        Raises:
            BusyError: too many tasks are open.
            StoreError: the disk takes nothing, or another job has this id.
        """
        self._jobs.check_room()
        names = {job.record["id"] for job in jobs}
        if known := names & (self._jobs.runs.keys() | self._jobs.accepting.keys()):
            raise StoreError(f"there is another job with the id {min(known)}")
        self._jobs.accepting.update((name, []) for name in names)
        try:
            self._accept(jobs)
        finally:
            for name in names:
                self._jobs.accepting.pop(name, None)
            self._jobs.notify()

    def restore(self, row: Mapping[str, Any]) -> None:
        """Take up one job as the ledger's `open_jobs` describes it."""
        meta = row["meta"]
        run = build.new_run(row["id"], meta, meta.get("offline", ()))
        run.state, run.started_at = row["state"], row["started_at"]
        build.restore(run, row["nodes"], row["cancel_reason"] if row["cancel_at"] else "")
        run.blocked = bool(meta.get("after")) and run.state == st.JOB_QUEUED  # any other state: it was released
        self._jobs.add(run, row)
        self._presence.end_strays(run)
        for node in run.nodes.values():
            node.sent_at = to_monotonic(run.started_at) if run.started_at else run.since  # the nearest known
            if run.cancelled:
                self._jobs.record_ends(run, ends.cancel_waiting(run, node))
        self._lifecycle.update(run)

    def release_blocked(self) -> None:
        """Start or cancel the jobs whose predecessor is final."""
        for run in list(self._jobs.runs.values()):
            if run.blocked and run.meta["after"] not in self._jobs.runs:
                found = ujson.loads(self._ledger.ask("find", id=run.meta["after"]))
                self._lifecycle.proceed(run, found["state"] if found else "purged")

    def lose_open(self, reason: str) -> int:
        """Lose every open task; how many there were. The ledger may have it only after its next commit."""
        return sum(self._lose(run, reason) for run in list(self._jobs.runs.values()))

    def _accept(self, jobs: Sequence[Accepted]) -> None:
        runs = []
        for job in jobs:
            runs.append(self._build(job))
            breathe()
        slices = [item for run in runs for item in self._first_slices(run)]
        operations: list[Any] = []
        for job, run in zip(jobs, runs, strict=True):
            reach = reach_of(job.meta)
            operations += [job.entry(reach)] if job.entry is not None else ()
            fields = {
                **job.record, "meta": job.meta, "node_count": len(run.nodes), "task_count": run.total,
                "step_count": run.steps, "nodes": list(run.nodes), "reads": list(reach - run.nodes.keys()),
                "cursors": {name: node.cursor for name, node in run.nodes.items() if node.cursor},
            }  # fmt: skip
            sealed = [job.sealed.operation(run.id)] if job.sealed is not None else []
            operations += [("accept", fields, job.chunks), *sealed, *(self._jobs.accepting[run.id] or ())]
            self._jobs.accepting[run.id] = None
        try:
            self._ledger.commit(*operations, refusable=True)
        except Exception:
            for run in runs:
                self._jobs.remove(run)
            raise
        for job, run in zip(jobs, runs, strict=True):
            self._jobs.events.job(run.id, st.JOB_QUEUED, name=job.record["name"], by=job.record["submitted_by"])
        self._dispatcher.dispatch(slices)
        for run in runs:
            del self._jobs.accepting[run.id]
            for node in run.nodes.values():  # those that came online meanwhile
                if not node.cursor and self._jobs.online(node.node):
                    self._jobs.due.add(run.id, node.node)
            self._presence.end_strays(run)
        for job, run in zip(jobs, runs, strict=True):
            if job.sealed is not None:
                self._presence.end_sealed(run, job.sealed.keys)

    def _build(self, job: Accepted) -> JobRun:
        record, meta = job.record, job.meta
        meta["offline"] = [name for name in stage_nodes(meta) if not self._jobs.online(name)]
        run = build.new_run(record["id"], meta, meta["offline"], breathe)
        breathe()  # with ten thousand nodes each of these takes long
        run.blocked = bool(meta.get("after"))
        build.mark_cached(run, job.succeeded)
        for first, chunk in zip(run.chunks.firsts, job.chunks, strict=bool(job.chunks)):
            self._jobs.chunks.keep(run.id, first, chunk)
        self._jobs.add(run, record)
        if job.sealed is not None:
            self._jobs.sealed.keep(run.id, job.sealed)
        return run

    def _first_slices(self, run: JobRun) -> Iterator[Slice]:
        """What each online node gets at once; other greenlets get turns in between."""
        pace = Pace()
        for node in run.nodes.values():
            yield from self._dispatcher.assign(run, node)
            pace.pause()

    def _lose(self, run: JobRun, reason: str) -> int:
        self._lifecycle.choose(run, every=True)  # a run-once step may have run on some node, so it is lost as well
        count = run.open
        for node in run.nodes.values():
            self._jobs.record_ends(run, run.end_range(node, 0, run.steps - 1, st.LOST, reason))
        self._lifecycle.update(run)
        return count

"""The commands about jobs: list, show, wait, cancel, forget, export."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import ujson

from director.api.job_access import JobAccess
from director.api.requests import Caller, Nothing
from director.api.waiting_nodes import WaitingNodes, extent
from director.protocol.framing import Cut
from director.scheduler.job_state import JobRun
from director.server.audit import shown
from director.server.ledger_client import LedgerClient
from director.server.roster import Roster
from director.server.scheduler import Scheduler
from director.targets import resolve

PACE = 0.5  # seconds between two checks of jobs that a caller waits for
CALM = 2.0  # seconds after which unchanged progress is reported again
PURGED_AT_ONCE = 100
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Selects jobs that match all fields given.

    Attributes:
        ids: ids, unique prefixes of ids, or `last`.
        state: job states.
        since: created after this time, epoch seconds.
        node: a target expression.
        limit: the newest so many; 0 for all.
    """

    ids: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    since: float | None = None
    node: str | None = None
    limit: int = 0


@dataclass(frozen=True, slots=True)
class JobId:
    """One job, by its id, a unique prefix of it, or `last`."""

    id: str


@dataclass(frozen=True, slots=True)
class JobIds:
    """Some jobs, each named as in `JobId`."""

    ids: tuple[str, ...]


class Jobs:
    """Answers the commands about jobs.

    Every method raises NotFoundError for an id that no job has, UsageError for a prefix that several have, and
    NotPermittedError for a job that reaches nodes outside of the caller's scope.

    Args:
        waiting: says what open jobs wait for.
    """

    def __init__(self, scheduler: Scheduler, roster: Roster, ledger: LedgerClient, waiting: WaitingNodes) -> None:
        self._scheduler, self._roster, self._ledger, self._waiting = scheduler, roster, ledger, waiting
        self._access = JobAccess(scheduler, roster, ledger)

    def list_jobs(self, request: JobFilter, caller: Caller) -> bytes:
        """A JSON list of jobs, the newest last; of a caller with a scope, those that reach no other node."""
        filters = self._filters(request, caller)
        return self._ledger.ask("list_jobs", filters=filters, live=live(self._scheduler.runs))

    def job_info(self, request: JobId, caller: Caller) -> Iterator[bytes]:
        """One job with its steps and tasks: one JSON object in parts."""
        job = self._access.find(request.id, caller)
        run = self._scheduler.runs.get(job)
        view = live({job: run}, job) if run is not None else {}
        return (Cut(part) for part in self._ledger.stream("job_info", id=job, live=view))

    def export_jobs(self, request: Nothing, caller: Caller) -> Iterator[bytes]:
        """Every job as in `job_info`, in JSON lists."""
        return self._ledger.stream("export_jobs", live=live(self._scheduler.runs), within=self._access.within(caller))

    def wait(self, request: JobIds, caller: Caller) -> Iterator[Row]:
        """Progress of the jobs until all are final, at least every two seconds.

        Each event is `{"jobs": [{id, state, tasks, steps, nodes, failed}], "waiting": [{job, node, step, why, since,
        until}]}`. `nodes` counts `total`, `done` and `failed` ones; `failed` has the names of some of these.
        """
        return self._progress([self._access.find(job, caller) for job in request.ids])

    def cancel(self, request: JobIds, caller: Caller) -> Row:
        """Cancel jobs. Answers when that is on disk: `{"jobs": [{id, was_final}]}`."""
        jobs = list(dict.fromkeys(self._access.find(job, caller) for job in request.ids))
        reason = f"cancelled by {caller.user}"
        for job in jobs:
            if run := self._scheduler.runs.get(job):
                caller.entry.order(run.nodes, job=job)
        found = [{"id": job, "was_final": not self._scheduler.cancel(job, reason)} for job in jobs]
        self._ledger.commit()  # the nodes have the orders, the disk may have been full
        return {"jobs": found}

    def purge_jobs(self, request: JobFilter, caller: Caller) -> Row:
        """Forget final jobs: `{"count": n}`."""
        jobs = ujson.loads(self._ledger.ask("final_jobs", filters=self._filters(request, caller)))
        if jobs:
            caller.entry.write(jobs=shown({"ids": jobs})["ids"], job_count=len(jobs))
        for start in range(0, len(jobs), PURGED_AT_ONCE):
            self._ledger.commit(("purge_jobs", {"ids": jobs[start : start + PURGED_AT_ONCE]}))
        return {"count": len(jobs)}

    def _filters(self, request: JobFilter, caller: Caller) -> Row:
        """The filter for the ledger, with the names of the nodes of the expression, and of the caller's scope."""
        scope = caller.rights.scope
        nodes = resolve([request.node], scope.within(self._roster), may_be_empty=True).nodes if request.node else None
        ids = request.ids if scope.is_everything else [self._access.find(job, caller) for job in request.ids]
        return {**asdict(request), "ids": ids, "nodes": nodes, "within": self._access.within(caller)}

    def _progress(self, jobs: Iterable[str]) -> Iterator[Row]:
        events = {job: event for job in jobs if (event := self._scheduler.final_event(job)) is not None}
        reported, last = 0.0, None
        while events:
            now = time.monotonic()
            runs = [self._scheduler.runs[job] for job in events if job in self._scheduler.runs]
            rows = [{"id": run.id, "state": run.state, "tasks": run.tasks()} for run in runs]
            if rows != last or now - reported > CALM:
                reported, last = now, rows
                shown = [{**row, **extent(run)} for row, run in zip(rows, runs, strict=True)]
                yield {"jobs": shown, "waiting": self._waiting.rows(runs)}
            next(iter(events.values())).wait(PACE)
            events = {job: event for job, event in events.items() if not event.is_set()}


def live(runs: Mapping[str, JobRun], detailed: str = "") -> Row:
    """What the ledger needs of open jobs for its answers; of job `detailed` also the state of every task."""
    view: Row = {
        run.id: {"state": run.state, "tasks": run.tasks(), "started_at": run.started_at} for run in runs.values()
    }
    if detailed in runs:
        nodes = runs[detailed].nodes.items()
        view[detailed]["nodes"] = {name: node.states.decode() for name, node in nodes}
        view[detailed]["running"] = {name: node.started for name, node in nodes if node.started}
    return view

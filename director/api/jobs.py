"""The commands about jobs: list, show, wait, cancel, forget, export."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import ujson

from director import states as st
from director.api.job_access import JobAccess
from director.api.requests import Caller, Nothing
from director.protocol.framing import Cut
from director.runtime.logs import stamp
from director.scheduler.job_state import JobRun
from director.scheduler.node_run import NodeRun
from director.server.audit import shown
from director.server.ledger_client import LedgerClient
from director.server.roster import NodeRecord, Roster
from director.server.scheduler import Scheduler
from director.targets import resolve

PACE = 0.5  # seconds between two checks of jobs that a caller waits for
CALM = 2.0  # seconds after which unchanged progress is reported again
PURGED_AT_ONCE = 100
WAITING_SHOWN = 100
SILENT = 5.0  # seconds after which a node's silence is reported
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
        lost_after: seconds of silence after which a node's tasks are lost.
    """

    def __init__(self, scheduler: Scheduler, roster: Roster, ledger: LedgerClient, lost_after: float) -> None:
        self._scheduler, self._roster, self._ledger, self._lost_after = scheduler, roster, ledger, lost_after
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

        Each event is `{"jobs": [{id, state, tasks}], "waiting": [{job, node, step, why, since, until}]}`.
        """
        return self._progress([self._access.find(job, caller) for job in request.ids])

    def cancel(self, request: JobIds, caller: Caller) -> Row:
        """Cancel jobs. Answers when that is on disk: `{"jobs": [{id, was_final}]}`."""
        jobs = [self._access.find(job, caller) for job in request.ids]
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
                yield {"jobs": rows, "waiting": self._waiting(runs)}
            next(iter(events.values())).wait(PACE)
            events = {job: event for job, event in events.items() if not event.is_set()}

    def _waiting(self, runs: Iterable[JobRun]) -> list[Row]:
        """The nodes that open jobs wait for, at most `WAITING_SHOWN`."""
        rows: list[Row] = []
        for run in runs:
            for node in run.nodes.values():
                if node.open:
                    step = node.first_open()
                    row = {"job": run.id, "node": node.node, "since": None, "until": None, "step": step}
                    rows.append({**row, **self._why(run, node, step)})
                    if len(rows) >= WAITING_SHOWN:
                        return rows
        return rows

    def _why(self, run: JobRun, node: NodeRun, step: int) -> Row:
        """Why a job waits for a node, and since and until when, if known."""
        record, now = self._roster.nodes.get(node.node), time.monotonic()
        if record is None:
            return {"why": "forgotten"}
        silence = now - (record.heard or record.offline_since or now)
        if not record.online:
            return self._why_offline(run, node, record, silence)
        if record.quarantine or record.trouble:
            return {"why": record.quarantine or record.trouble, "stuck": True}
        since = {"since": _in(-silence)} if silence > SILENT else {}
        if node.started:
            step, at = next(iter(node.started.items()))
            limit = run.time_limit(step)
            return {"why": "running", "step": step, "since": stamp(at), "until": stamp(at + limit) if limit else None}
        awaited = self._scheduler.run_once.why(run.id, step)
        return {**since, "why": awaited or ("sent" if node.states.count(st.SENT) else "queued")}

    def _why_offline(self, run: JobRun, node: NodeRun, record: NodeRecord, silence: float) -> Row:
        """For an offline node; tasks that were handed over become lost, others expire."""
        if node.handed > 0:
            return {"why": "silent", "since": _in(-silence), "until": _in(max(0.0, self._lost_after - silence))}
        left = run.valid_for - (time.monotonic() - max(record.offline_since, run.since))
        return {"why": "offline", "since": _in(-silence), "until": _in(max(0.0, left))}


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


def _in(seconds: float) -> str:
    """The time so many seconds from now, as ISO 8601."""
    return stamp(time.time() + seconds)

"""The command that explains why tasks are where they are: what each open node waits for, and what would move it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import ujson

from director import states as st
from director.api.job_access import JobAccess
from director.api.jobs import live
from director.api.requests import Caller
from director.api.waiting_nodes import WaitingNodes
from director.errors import NotFoundError
from director.runtime.logs import stamp
from director.scheduler import windows
from director.scheduler.job_state import JobRun
from director.scheduler.node_run import NodeRun
from director.server.ledger_client import LedgerClient
from director.server.scheduler import Scheduler

NAMED = 5  # nodes that an explanation names
MOST = 1000  # nodes in an answer
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Why:
    """Asks about a job, named as in `JobId`, or about one node of it."""

    id: str
    node: str | None = None


class Explanations:
    """Answers the command."""

    def __init__(self, scheduler: Scheduler, ledger: LedgerClient, access: JobAccess, waiting: WaitingNodes) -> None:
        self._scheduler, self._ledger, self._access, self._waiting = scheduler, ledger, access, waiting

    def why(self, request: Why, caller: Caller) -> Row:
        """`{job, waits, tasks}`.

        `job` is a row of `list-jobs`. `waits` has a row for each node with open tasks, at most 1,000: `{node, step,
        number, state, why, since, until, sent_at, moves}`, `moves` says what would change that. `tasks` are, with a
        node, its tasks without outputs, else the groups of tasks that did not end well.

        Raises:
            NotFoundError, UsageError, NotPermittedError: as `JobAccess.find`; also a node that the job does not have.
        """
        job = self._access.find(request.id, caller)
        run = self._scheduler.runs.get(job)
        view = live({job: run}, job) if run is not None else {}
        (row,) = ujson.loads(self._ledger.ask("list_jobs", filters={"ids": [job]}, live=view))
        found = ujson.loads(self._ledger.ask("node_tasks", id=job, node=request.node, live=view))
        if request.node and not found:
            raise NotFoundError(f"job {job} has no task on {request.node}")
        nodes = [] if run is None else [node for node in run.nodes.values() if request.node in (None, node.node)]
        waits = [self._explain(run, node) for node in nodes if node.open][:MOST] if run is not None else []
        return {"job": row, "waits": waits, "tasks": found}

    def _explain(self, run: JobRun, node: NodeRun) -> Row:
        step = node.first_open()
        known = {"since": None, "until": None, "step": step, **self._waiting.why(run, node, step)}
        known["number"] = known["step"] + 1
        known["state"] = st.NAMES[node.states[known["step"]]]
        known["sent_at"] = stamp(time.time() - (time.monotonic() - node.sent_at)) if node.handed else None
        why, moves = self._cause(run, node, known)
        return {"node": node.node, **known, "why": why, "moves": moves}

    def _cause(self, run: JobRun, node: NodeRun, known: Row) -> tuple[str, str]:
        """Why it waits as a sentence, and what would move it."""
        why, cancel = known["why"], f"director --cancel-job {run.id}"
        if why == "offline":
            return "the node is offline", f"start its client; it expires at `until` (--valid-for); or {cancel}"
        if why == "silent":
            return (
                "the node fell silent with tasks that it was given",
                "the node comes back and reports; at `until` they are lost (--lost-after)",
            )
        if known.get("stuck"):
            return why, "the node's trouble must end; `director --node-info` shows it"
        if run.cancelled:
            return f"{run.cancelled}; the node has not reported that its processes are gone", "the node reports it"
        if why == "running":
            return "it runs", f"it ends, or its time is over at `until`; director --follow {run.id} --node {node.node}"
        if run.blocked:
            before = run.meta["after"]
            return f"job {before} before it has not ended", f"director --why {before}"
        return self._cause_of_queue(run, node, known)

    def _cause_of_queue(self, run: JobRun, node: NodeRun, known: Row) -> tuple[str, str]:
        if known["why"] not in ("sent", "queued"):
            return known["why"], f"director --why {run.id} and that node"
        if known["state"] == "sent":
            return (
                "it was sent; on the node it waits for a free place (--concurrency) or for a step before it",
                f"the node begins it; it holds {node.load.handed} tasks of all jobs",
            )
        if known["step"] >= run.barriers.limit:
            behind = [other.node for other in run.nodes.values() if _keeps_closed(run, other)]
            names = ", ".join(behind[:NAMED]) + (" and others" if len(behind) > NAMED else "")
            what = f"step {run.barriers.limit + 1} begins when all nodes have ended the steps before it"
            return f"{what}; {len(behind)} have not: {names}", f"director --why {run.id} {behind[0] if behind else ''}"
        if node.load.handed >= windows.NODE_LIMIT:
            return f"the node holds {node.load.handed} tasks, as many as it may", "it ends some of them"
        return "it is about to be sent", "nothing; look again"


def _keeps_closed(run: JobRun, node: NodeRun) -> bool:
    """Whether the node has open tasks before the first closed barrier, and is awaited there."""
    return not node.waived and any(letter in st.OPEN for letter in node.states[: run.barriers.limit])

"""Why an open job waits for a node: it is away, stands still, runs a step, or the job waits for others."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from director import states as st
from director.runtime.logs import stamp
from director.scheduler.job_state import JobRun
from director.scheduler.node_run import NodeRun
from director.server.roster import NodeRecord, Roster
from director.server.scheduler import Scheduler

MOST = 100  # nodes in one report
FAILED = 10  # failed nodes that are named
SILENT = 5.0  # seconds after which a node's silence is reported
Row = dict[str, Any]


class WaitingNodes:
    """Explains by what the server has in memory.

    Args:
        lost_after: seconds of silence after which a node's tasks are lost.
    """

    def __init__(self, scheduler: Scheduler, roster: Roster, lost_after: float) -> None:
        self._scheduler, self._roster, self._lost_after = scheduler, roster, lost_after

    def rows(self, runs: Iterable[JobRun], most: int = MOST) -> list[Row]:
        """The nodes that open jobs wait for, at most so many: `{job, node, step, why, since, until}`."""
        rows: list[Row] = []
        for run in runs:
            for node in run.nodes.values():
                if node.open:
                    step = node.first_open()
                    row = {"job": run.id, "node": node.node, "since": None, "until": None, "step": step}
                    rows.append({**row, **self.why(run, node, step)})
                    if len(rows) >= most:
                        return rows
        return rows

    def why(self, run: JobRun, node: NodeRun, step: int) -> Row:
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


def extent(run: JobRun) -> Row:
    """How many nodes of a job have ended, how many failed, and the names of the first of these."""
    done = sum(not node.open for node in run.nodes.values())
    failed = (
        [node.node for node in run.nodes.values() if _has_failed(node)]
        if any(map(run.counts.__getitem__, st.BAD))
        else []
    )
    nodes = {"total": len(run.nodes), "done": done, "failed": len(failed)}
    return {"steps": run.steps, "nodes": nodes, "failed": failed[:FAILED]}


def _has_failed(node: NodeRun) -> bool:
    return any(letter in node.states for letter in st.BAD)


def _in(seconds: float) -> str:
    """The time so many seconds from now, as ISO 8601."""
    return stamp(time.time() + seconds)

"""Run-once steps at run time: nodes wait at the steps behind one until it has ended on the node that runs it.

The success of such a step is on disk before any node goes on, so that a node that has begun a later step never finds
it open again. When it did not succeed, the later steps are skipped already, and the nodes are told to stop waiting.
While a job is being cancelled nothing is sent, as the cancel ends the waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from director import states as st
from director.protocol import messages
from director.scheduler.choice import awaited
from director.scheduler.job_state import JobRun
from director.scheduler.node_run import NodeRun
from director.server.ledger_client import LedgerClient
from director.server.roster import NodeRecord, Send

OVER = "it was skipped, or given up"


@dataclass(slots=True)
class _Group:
    """The nodes that wait at one step of a job.

    Attributes:
        left: the run-once steps that may not have succeeded yet, the first one last.
        waiting: nodes by name.
    """

    left: list[tuple[NodeRun, int]]
    waiting: dict[str, NodeRecord] = field(default_factory=dict)


class RunOnce:
    """The waiting nodes of all open jobs.

    Args:
        runs: the open jobs by id.
    """

    def __init__(self, runs: Mapping[str, JobRun], ledger: LedgerClient, send: Send) -> None:
        self._runs, self._ledger, self._send = runs, ledger, send
        self._groups: dict[str, dict[int, _Group]] = {}

    def ask(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """Take a `run_once_wait`: the node is told when it may begin the step. A repeated one changes nothing."""
        job, step = fields["job"], fields["step"]
        run = self._runs.get(job)
        node = run.nodes.get(record.name) if run is not None else None
        if run is None or node is None or not 0 <= step < run.steps or node.states[step] == st.NONE:
            self._tell(job, step, [record], "the job has no such step for this node, or is over")
        elif node.states[step] in st.FINAL:
            self._tell(job, step, [record], OVER)
        else:
            groups = self._groups.setdefault(job, {})
            group = groups.get(step) or groups.setdefault(step, _Group(awaited(run, step)))
            group.waiting[record.name] = record
            self._release(run, step, group)

    def update(self, run: JobRun) -> None:
        """Tell the nodes that need not wait any longer, after tasks of the job have ended."""
        for step, group in self._groups.get(run.id, {}).items():
            if group.waiting:
                self._release(run, step, group)

    def forget(self, job: str) -> None:
        """The job is over."""
        self._groups.pop(job, None)

    def why(self, job: str, step: int) -> str:
        """What the nodes at the step wait for, as a sentence; "" when none waits."""
        group = self._groups.get(job, {}).get(step)
        if group is None or not group.waiting or not group.left:
            return ""
        node, once = group.left[-1]
        return f"{node.node} has not ended step {once + 1}, which it runs for all"

    def _release(self, run: JobRun, step: int, group: _Group) -> None:
        if run.cancelled:
            return
        while group.left and run.went_well(*group.left[-1]):
            group.left.pop()
        if group.left and group.left[-1][0].states[group.left[-1][1]] in st.OPEN:
            return
        waiting, group.waiting = group.waiting, {}
        over = {name for name in waiting if group.left or run.nodes[name].states[step] in st.FINAL}
        self._tell(run.id, step, [record for name, record in waiting.items() if name in over], OVER)
        self._tell(run.id, step, [record for name, record in waiting.items() if name not in over], "")

    def _tell(self, job: str, step: int, records: list[NodeRecord], error: str) -> None:
        """Send when all operations before are on disk."""
        header = messages.encode("run_once_ended", job=job, step=step, error=error)

        def send(failed: str | None) -> None:
            for record in records:
                self._send(record, header, ())

        if records:
            self._ledger.write(then=send)

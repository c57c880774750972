"""Run-once steps: nodes that come to a step behind one of another node ask, and are told once it has ended.

A step that ended well is on disk before anybody is told to go on, so that whoever has begun a step behind it never
finds it open again. When it did not go well the desk has skipped what the others hold behind it; they are told only
so that they do not wait any longer. Nobody is told anything of a job that is being cancelled: the cancel says it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from director import states as st
from director.protocol import messages
from director.scheduler.job_state import JobRun, NodeRun
from director.server.ledger_client import LedgerClient
from director.server.roster import NodeRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from director.server.scheduler import Scheduler

OVER = "it was skipped, or given up"


@dataclass(slots=True)
class _Group:
    """Those that wait at one step of a job.

    Attributes:
        left: the run-once steps that may not have gone well yet, the first one last.
    """

    left: list[tuple[NodeRun, int]]
    asks: dict[str, NodeRecord] = field(default_factory=dict)


class RunOnce:
    """The groups of all open jobs."""

    def __init__(self, desk: Scheduler, ledger: LedgerClient) -> None:
        self._desk, self._ledger = desk, ledger
        self._groups: dict[str, dict[int, _Group]] = {}

    def ask(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """A node may begin this step when it is told to; asking again changes nothing."""
        job, step = fields["job"], fields["step"]
        run = self._desk.runs.get(job)
        node = run.nodes.get(record.name) if run is not None else None
        if run is None or node is None or not 0 <= step < run.steps or node.states[step] == st.NONE:
            self._tell(job, step, [record], "the job has no such step for this node, or is over")
            return
        if node.states[step] in st.FINAL:
            self._tell(job, step, [record], OVER)
            return
        groups = self._groups.setdefault(job, {})
        if step not in groups:
            groups[step] = _Group(run.awaited(step))
        groups[step].asks[record.name] = record
        self._look(run, step, groups[step])

    def look(self, run: JobRun) -> None:
        """The job has changed."""
        for step, group in self._groups.get(run.id, {}).items():
            if group.asks:
                self._look(run, step, group)

    def forget(self, job: str) -> None:
        """The job is over."""
        self._groups.pop(job, None)

    def why(self, job: str, step: int) -> str:
        """What those at the step wait for, for a person; "" for nothing."""
        group = self._groups.get(job, {}).get(step)
        if group is None or not group.asks or not group.left:
            return ""
        node, once = group.left[-1]
        return f"{node.node} has not ended step {once}, which it runs for all"

    # -- inside -------------------------------------------------------------------------------------------

    def _look(self, run: JobRun, step: int, group: _Group) -> None:
        if run.cancelled:
            return
        while group.left and run.went_well(*group.left[-1]):
            group.left.pop()
        if group.left and group.left[-1][0].states[group.left[-1][1]] in st.OPEN:
            return
        asks, group.asks = group.asks, {}
        over = {name for name in asks if group.left or run.nodes[name].states[step] in st.FINAL}
        self._tell(run.id, step, [record for name, record in asks.items() if name in over], OVER)
        self._tell(run.id, step, [record for name, record in asks.items() if name not in over], "")

    def _tell(self, job: str, step: int, records: list[NodeRecord], error: str) -> None:
        """Tell nodes when all that was decided before is on disk."""
        header = messages.encode("run_once_ended", job=job, step=step, error=error)

        def send(failed: str | None) -> None:
            for record in records:
                self._desk.send(record, header, ())

        if records:
            self._ledger.write(then=send)

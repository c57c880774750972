"""The command that follows the output of a job: what has ended from the ledger, what runs from its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import gevent

from director import states as st
from director.api.job_access import JobAccess
from director.api.requests import Caller
from director.errors import UsageError
from director.runtime.greenlets import Pace
from director.scheduler.job_state import JobRun
from director.server.ledger_client import LedgerClient
from director.server.live_output import Viewer
from director.server.roster import Roster
from director.server.scheduler import Scheduler
from director.targets import resolve

PACE = 0.02  # seconds between two answers, in which lines gather
CALM = 2.5  # seconds after which an empty answer shows that there is nothing new
AT_ONCE = 500  # results in one question to the ledger
LOOK = 0.25  # seconds between two looks whether the job has ended


@dataclass(frozen=True, slots=True)
class Follow:
    """Asks for the output of a job, named as in `JobId`.

    Attributes:
        node: a target expression: only of these nodes.
        step: only of this step, from 0.
    """

    id: str
    node: str | None = None
    step: int | None = None

    def __post_init__(self) -> None:
        if self.step is not None and self.step < 0:
            raise UsageError("step: expected 0 or more")


class OutputFeed:
    """Answers the command about output."""

    def __init__(self, scheduler: Scheduler, roster: Roster, ledger: LedgerClient, access: JobAccess) -> None:
        self._scheduler, self._roster, self._ledger, self._access = scheduler, roster, ledger, access

    def follow(self, request: Follow, caller: Caller) -> Iterator[bytes]:
        """Lists of pieces and of ended tasks until the job is final, at least every three seconds.

        A piece is `{node, step, number, attempt, stream, offset, data}`, an ended task `{node, step, number, attempt,
        state, exit_code, reason, truncated, stdout, stderr}`; data and outputs are base64. A task's pieces rise in
        offset but for those that are sent again; a gap is what was skipped; an ended task may come twice.

        Raises:
            NotFoundError, UsageError, NotPermittedError: as `JobAccess.find`; NoTargetError: no such node.
            BusyError: there are too many viewers.
        """
        job = self._access.find(request.id, caller)
        view = caller.rights.scope.within(self._roster)
        nodes = frozenset(resolve([request.node], view).nodes) if request.node else None
        run = self._scheduler.runs.get(job)
        if run is None:
            return self._ended(job, nodes, request.step)
        return self._live(run, self._scheduler.live.open(run, nodes, request.step), request.step)

    def _ended(self, job: str, nodes: frozenset[str] | None, step: int | None) -> Iterator[bytes]:
        """The results of a job that is final."""
        return self._ledger.stream("outputs", id=job, step=step, nodes=None if nodes is None else list(nodes))

    def _live(self, run: JobRun, viewer: Viewer, step: int | None) -> Iterator[bytes]:
        final = self._scheduler.final_event(viewer.job)
        with viewer:
            yield from self._ended_so_far(run, viewer, step)
            quiet = 0.0
            while True:
                is_final = final is None or final.is_set()
                pieces, ended = viewer.take()
                if pieces:
                    yield b"[" + b",".join(pieces) + b"]"
                if viewer.behind:
                    viewer.behind = False
                    yield from self._ended_so_far(run, viewer, step)
                else:
                    yield from self._results(viewer.job, ended)
                if is_final and not viewer.has_more():
                    return
                quiet = 0.0 if pieces or ended else quiet + LOOK
                if quiet > CALM:
                    quiet = 0.0
                    yield b"[]"
                if not viewer.has_more():
                    viewer.wait(LOOK)
                gevent.sleep(PACE)

    def _ended_so_far(self, run: JobRun, viewer: Viewer, step: int | None) -> Iterator[bytes]:
        """The results that are in the ledger; those that are on their way there come as ended tasks."""
        pace = Pace()
        for number in range(run.steps) if step is None else (step,):
            ended = []
            for node in list(run.nodes.values()):
                pace.pause()
                if number < run.steps and node.states[number] in st.FINAL and viewer.may_see(node.node):
                    ended.append((number, node.node))
            yield from self._results(run.id, ended)

    def _results(self, job: str, tasks: list[tuple[int, str]]) -> Iterator[bytes]:
        """Lists of the results of these tasks, a part at a time, so that no slow viewer keeps the ledger busy."""
        start = 0
        while start < len(tasks):
            count, _, items = self._ledger.ask("outputs_of", id=job, tasks=tasks[start : start + AT_ONCE]).partition(
                b"["
            )
            start += int(count)
            if items != b"]":
                yield b"[" + items

"""Sends slices to nodes after the ledger has recorded them; jobs take turns, each job's slices keep their order."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from director.errors import DirectorError
from director.protocol import messages
from director.runtime.greenlets import breathe, spawn
from director.scheduler.fair_queue import FairQueue
from director.scheduler.job_state import JobRun
from director.scheduler.node_run import NodeRun
from director.scheduler.windows import StepRange
from director.server.ledger_client import LedgerClient
from director.server.lifecycle import Lifecycle
from director.server.open_jobs import OpenJobs
from director.server.roster import Send

log = logging.getLogger(__name__)

AT_ONCE = 32  # slices of one job before it is the turn of the next job
READ_AGAIN = 1.0  # seconds after which steps that could not be read are tried again


@dataclass(slots=True, eq=False)
class Slice:
    """The steps of one message: ranges within one chunk.

    Attributes:
        epoch: the node's when the slice was made; the slice is void when the node has another one.
    """

    run: JobRun
    node: NodeRun
    chunk: int
    ranges: list[StepRange]
    epoch: int


class Dispatcher:
    """Sends slices with the chunk that they need."""

    def __init__(self, jobs: OpenJobs, lifecycle: Lifecycle, ledger: LedgerClient, send: Send) -> None:
        self._jobs, self._lifecycle, self._ledger, self._send = jobs, lifecycle, ledger, send
        self._outgoing: FairQueue[Slice] = FairQueue()
        spawn("dispatcher", self._run, vital=True)

    def dispatch(self, slices: Iterable[Slice]) -> None:
        """Queue slices that the ledger has recorded."""
        for item in slices:
            self._outgoing.add(item.run.id, item)

    def _run(self) -> None:
        while True:
            self._outgoing.wait()
            for item in self._outgoing.take(AT_ONCE)[1]:
                try:
                    self._deliver(item)
                except Exception:
                    log.exception("steps of job %s could not be sent to %s", item.run.id, item.node.node)
            breathe()

    def _deliver(self, item: Slice) -> None:
        run, node = item.run, item.node
        try:
            frames = self._frames(item)
        except DirectorError as error:  # the ledger process ended meanwhile
            log.warning("steps of job %s cannot be read now: %s", run.id, error)
            spawn("steps again", self._jobs.due.add, run.id, node.node, vital=False, after=READ_AGAIN)
            frames = None
        if item.epoch != node.epoch or self._jobs.runs.get(run.id) is not run:
            return
        if frames is None or not self._send_slice(item, frames):
            self._lifecycle.take_back(run, node, item.ranges[0].first)
            return
        node.chunk = max(node.chunk, item.chunk)
        if run.started_at is None:
            run.started_at = time.time()
            self._ledger.write(("job", {"id": run.id, "state": run.state, "started_at": run.started_at}), lazy=True)
            self._jobs.notify()

    def _send_slice(self, item: Slice, frames: tuple[bytes, ...]) -> bool:
        """Whether the slice may have been delivered."""
        record = self._jobs.online(item.node.node)
        if record is None or item.run.cancelled:
            return False
        record.seq += 1
        header = messages.encode("slice", seq=record.seq, job=item.run.id, chunk=item.chunk, parts=item.ranges)
        return self._send(record, header, frames)

    def _frames(self, item: Slice) -> tuple[bytes, bytes]:
        """The chunk and the head, each only once in a session; of a resumed job also the values it had set there."""
        run, node = item.run, item.node
        chunk = self._jobs.chunks.get(run.id, item.chunk) if node.chunk < item.chunk else b""
        head = self._jobs.heads.get(run.id, b"") if node.chunk < 0 else b""
        if head and node.node in run.seeded:
            head = b'%s,"seed":%s}' % (head[:-1], self._ledger.ask("seed", job=run.id, node=node.node))
        return chunk, head

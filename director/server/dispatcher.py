"""Decides which steps each node gets next, has the ledger record that, then sends them as slices.

Jobs take turns, and each job's slices keep their order.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from director.errors import DirectorError, ProtocolError
from director.protocol import messages
from director.runtime.greenlets import breathe, spawn
from director.scheduler import ends, windows
from director.scheduler.chunks import StepRange
from director.scheduler.fair_queue import FairQueue
from director.scheduler.job_state import JobRun
from director.scheduler.node_run import NodeRun
from director.server.ledger_client import LedgerClient
from director.server.lifecycle import Lifecycle
from director.server.open_jobs import OpenJobs
from director.server.roster import Send

log = logging.getLogger(__name__)

TURN = 0.005  # seconds of decisions before other greenlets get a turn
BATCH = 500  # slices recorded at once
AT_ONCE = 32  # nodes or slices of one job before it is the turn of the next job
SEED_FIELD = 16  # bytes for its name, at the most
TOO_LARGE = "the values that the resumed job set on this node come to more than 64 MiB; submit the text anew"
READ_AGAIN = 1.0  # seconds after which steps that could not be read are tried again


@dataclass(slots=True, eq=False)
class Slice:
    """The steps of one message.

    Attributes:
        epoch: the node's when the slice was made; the slice is void when the node has another one.
    """

    run: JobRun
    node: NodeRun
    ranges: list[StepRange]
    epoch: int


class Dispatcher:
    """Works through the nodes that may get more steps, and sends slices with the chunk that they need."""

    def __init__(self, jobs: OpenJobs, lifecycle: Lifecycle, ledger: LedgerClient, send: Send) -> None:
        self._jobs, self._lifecycle, self._ledger, self._send = jobs, lifecycle, ledger, send
        self._outgoing: FairQueue[Slice] = FairQueue()
        spawn("assigner", self._assign_due, vital=True)
        spawn("dispatcher", self._send_recorded, vital=True)

    def assign(self, run: JobRun, node: NodeRun) -> list[Slice]:
        """What the node gets of the job now; it counts as sent from here on. Nothing when the node is offline
        or in quarantine."""
        record = self._jobs.ready(node.node)
        if record is None:
            return []
        room = windows.room_for(node, len(record.jobs))
        if room <= 0:
            windows.starve(node.load, run.id)
        ranges = windows.next_ranges(run, node, room)
        if not ranges:
            return []
        run.hand_out(node, ranges[-1].last + 1)
        node.sent_at = time.monotonic()
        return [Slice(run, node, found, node.epoch) for found in run.chunks.slices(ranges)]

    def dispatch(self, slices: Iterable[Slice]) -> None:
        """Queue slices that the ledger has recorded."""
        for item in slices:
            self._outgoing.add(item.run.id, item)

    def _assign_due(self) -> None:
        while True:
            self._jobs.due.wait()
            slices: list[Slice] = []
            until = time.monotonic() + TURN
            while self._jobs.due and time.monotonic() < until and len(slices) < BATCH:
                job, names = self._jobs.due.take(AT_ONCE)
                run = self._jobs.runs.get(job)
                if run is not None and job not in self._jobs.accepting:
                    for name in names:
                        slices += self._consider(run, name)
            if slices:
                self._record(slices)
            breathe()

    def _consider(self, run: JobRun, name: str) -> list[Slice]:
        node = run.nodes.get(name)
        try:
            return self.assign(run, node) if node is not None and node.open else []
        except Exception:
            log.exception("steps of job %s for %s could not be chosen", run.id, name)
            return []

    def _record(self, slices: list[Slice]) -> None:
        cursors: dict[str, dict[str, int]] = {}
        for item in slices:
            cursors.setdefault(item.run.id, {})[item.node.node] = item.node.cursor
            self._jobs.events.tasks(item.run, item.node.node)
        operations = [("cursors", {"job": job, "cursors": found}) for job, found in cursors.items()]
        self._ledger.write(*operations, then=lambda error: self.dispatch(slices))

    def _send_recorded(self) -> None:
        while True:
            self._outgoing.wait()
            for item in self._outgoing.take(AT_ONCE)[1]:
                try:
                    self._deliver(item)
                except Exception:
                    log.exception("steps of job %s could not be sent to %s", item.run.id, item.node.node)
            breathe()

    def _deliver(self, item: Slice) -> None:
        run, node, refused = item.run, item.node, ""
        try:
            frames = self._frames(item)
        except ProtocolError as error:
            frames, refused = None, str(error)
        except DirectorError as error:  # the ledger process ended meanwhile
            log.warning("steps of job %s cannot be read now: %s", run.id, error)
            spawn("steps again", self._jobs.due.add, run.id, node.node, vital=False, after=READ_AGAIN)
            frames = None
        if item.epoch != node.epoch or self._jobs.runs.get(run.id) is not run:
            return
        if frames is None or not self._send_slice(item, frames):
            self._lifecycle.take_back(run, node, item.ranges[0].first)
            if refused:
                self._lifecycle.end(run, ends.refuse(run, node, refused))
            return
        node.chunk = max(node.chunk, run.chunks.first(item.ranges[-1].first))
        if run.started_at is None:
            run.started_at = time.time()
            self._ledger.write(("job", {"id": run.id, "state": run.state, "started_at": run.started_at}), lazy=True)
            self._jobs.events.job(run.id, run.state)
            self._jobs.notify()

    def _send_slice(self, item: Slice, frames: tuple[bytes, ...]) -> bool:
        """Whether the slice may have been delivered."""
        record = self._jobs.ready(item.node.node)
        if record is None or item.run.cancelled:
            return False
        record.seq += 1
        header = messages.encode("slice", seq=record.seq, job=item.run.id, parts=item.ranges)
        return self._send(record, header, frames)

    def _frames(self, item: Slice) -> tuple[bytes, ...]:
        """The head and the chunk of each range, all only once in a session; of a resumed job also the values set there.

        Raises:
            ProtocolError: they are more than a message carries. DirectorError: they cannot be read now.
        """
        run, node = item.run, item.node
        chunks, newest = [], node.chunk
        for steps in item.ranges:
            first = run.chunks.first(steps.first)
            chunks.append(self._jobs.chunks.get(run.id, first) if first > newest else b"")
            newest = max(newest, first)
        head = self._jobs.head(run, node) if node.chunk < 0 else b""
        if head and node.node in run.seeded:
            seed = self._ledger.ask("seed", job=run.id, node=node.node)
            if not seed or sum(map(len, chunks)) + len(head) + len(seed) + SEED_FIELD > messages.PAYLOAD_LIMIT:
                raise ProtocolError(TOO_LARGE)
            head = b'%s,"seed":%s}' % (head[:-1], seed)
        return head, *chunks

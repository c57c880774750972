"""Sends nodes the contents that their own steps need, as fast as each of them reads.

A node requests ranges of blobs. They wait here, not their bytes: a message is read when the node's connection has room
for it, as the kernel tells what the node has acknowledged. Nodes take turns, and the room is shared: while many read,
each has less under way. What several nodes need at about the same time is read and encoded once.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent.event import Event

from director.protocol import messages
from director.protocol.connections import ACKNOWLEDGED, Frame, bytes_of
from director.protocol.transport import shared
from director.runtime.greenlets import Pace, spawn
from director.runtime.logs import Seldom
from director.scheduler.job_state import JobRun
from director.server.node_sender import NodeSender
from director.server.roster import NodeRecord
from director.server.scheduler import Scheduler
from director.transfer.blob_lists import named
from director.transfer.blobs import BlobStore
from director.transfer.pieces import PIECE, Range, cut, is_range

TOGETHER = 48 << 20  # bytes under way to all nodes; beside it each has `LEAST`
LEAST = 2 * PIECE
WAITING = 4000  # ranges that one node may have requested and not got
KEPT = 16 << 20  # bytes of messages that were sent and may be sent to others
PAUSE, LONGEST_PAUSE = 0.001, 0.05  # seconds between two looks whether a node has read

seldom = Seldom(logging.getLogger(__name__))


@dataclass(slots=True, eq=False)
class _Lane:
    """What one connection of a node is to get.

    Attributes:
        steps: by job and step, the ranges that are to be sent; steps take turns.
        sent: bytes that were sent.
        before: bytes that the node had acknowledged when the lane began.
        under_way: bytes that it had not acknowledged when they were last counted.
    """

    record: NodeRecord
    peer: bytes | None
    before: int
    steps: dict[tuple[str, int], deque[Range]] = field(default_factory=dict)
    sent: int = 0
    under_way: int = 0

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to send or to wait for."""
        return self.record.peer != self.peer or not (self.steps or self.under_way)

    def count(self) -> int:
        """Bytes that the node has not acknowledged; 0 where the kernel does not tell."""
        now = bytes_of(self.record.connection, ACKNOWLEDGED)
        self.under_way = max(0, self.sent - (now - self.before)) if now else 0
        return self.under_way


class FileServer:
    """Reads the blobs of open jobs for the nodes whose steps need them.

    Args:
        lent: whether another node lent a blob to a node for a step, see `NodeTransfer.lent`.
    """

    def __init__(
        self, blobs: BlobStore, scheduler: Scheduler, lent: Callable[[JobRun, int, str, str], bool], sender: NodeSender
    ) -> None:
        self._blobs, self._scheduler, self._lent, self._sender = blobs, scheduler, lent, sender
        self._lanes: dict[str, _Lane] = {}  # by node
        self._messages: OrderedDict[tuple[Any, ...], Frame] = OrderedDict()  # the last ones
        self._kept = 0  # bytes of these
        self._under_way = 0  # to all nodes
        self._some = Event()
        self._pause = PAUSE
        spawn("contents", self._serve, vital=True)

    def get(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """Take one `get`; what the step does not need on this node is refused, whether it is here or not."""
        job, step, ranges = fields["job"], fields["step"], fields["ranges"]
        if not all(map(is_range, ranges)) or not self._offered(record, job, step, {row[0] for row in ranges}):
            self._refuse(record, job, step, "this job does not offer that content")
            return
        lane = self._lanes.get(record.name)
        if lane is None or lane.is_over:
            before = bytes_of(record.connection, ACKNOWLEDGED)
            lane = self._lanes[record.name] = _Lane(record, record.peer, before)
        if fields["anew"]:
            lane.steps.pop((job, step), None)
        if sum(map(len, lane.steps.values())) + len(ranges) > WAITING:
            seldom.warning("%s requests more contents than it reads: its requests are dropped", record.name)
            return
        lane.steps.setdefault((job, step), deque()).extend(map(tuple, ranges))
        self._pause = PAUSE
        self._some.set()

    def _offered(self, record: NodeRecord, job: str, step: int, digests: set[str]) -> bool:
        run = self._scheduler.runs.get(job)
        node = run.nodes.get(record.name) if run is not None else None
        if run is None or node is None or not node.has(step):
            return False
        needed = run.chunks.contents(step)
        return all(
            named(needed, digest, self._blobs, record.name) or self._lent(run, step, record.name, digest)
            for digest in digests
        )

    def _refuse(self, record: NodeRecord, job: str, step: int, error: str) -> None:
        self._sender.send(record, messages.encode("contents", job=job, step=step, set=0, ranges=[], error=error))

    # -- sending ------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        pace = Pace()
        while True:
            self._some.wait()
            if not self._turn(pace):
                gevent.sleep(self._pause)
                self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _turn(self, pace: Pace) -> bool:
        """Send one message to each node that has room; whether there was one."""
        sent = False
        for name, lane in list(self._lanes.items()):
            room = max(LEAST, TOGETHER - self._under_way)  # so one node alone takes half of it
            self._under_way -= lane.under_way
            if lane.is_over:
                del self._lanes[name]
                continue
            if lane.count() < room and lane.steps:
                self._send_one(lane)
                sent = True
            self._under_way += lane.under_way
            pace.pause()
        if not self._lanes:
            self._some.clear()
            self._messages.clear()
            self._kept = 0
        return sent

    def _send_one(self, lane: _Lane) -> None:
        """Send the next message of the step whose turn it is."""
        (job, step), waiting = next(iter(lane.steps.items()))
        del lane.steps[job, step]
        try:
            message = self._message(job, step, cut(waiting))
        except OSError as failure:
            self._refuse(lane.record, job, step, f"the server cannot read it: {failure.strerror or failure}")
            return
        if waiting:
            lane.steps[job, step] = waiting
        if self._sender.send_shared(lane.record, message):
            lane.sent += len(message)
            lane.record.pieces += len(message)
            lane.under_way += len(message)

    def _message(self, job: str, step: int, ranges: list[Range]) -> Frame:
        """A message with these ranges, read once for all nodes that it is sent to soon. Raises OSError."""
        key = (job, step, *ranges)
        found = self._messages.get(key)
        if found is None:
            data = b"".join([_read(self._blobs.path(digest), length, offset) for digest, offset, length in ranges])
            fields = {"job": job, "step": step, "set": 0, "ranges": ranges, "error": ""}
            found = self._messages[key] = shared((messages.encode("contents", **fields), data))
            self._kept += len(found)
            while self._kept > KEPT and len(self._messages) > 1:
                self._kept -= len(self._messages.popitem(last=False)[1])
        return found


def _read(path: str, length: int, offset: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)
    if len(data) != length:
        raise OSError("it has another size")
    return data

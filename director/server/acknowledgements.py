"""Gathers acknowledgements of stored results for a moment: while a whole fleet reports, results are read first.

An acknowledgement covers all earlier messages of its connection, so the highest number and all jobs to close suffice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import gevent
from gevent.event import Event

from director.protocol import messages
from director.runtime.greenlets import Pace, spawn
from director.server.roster import NodeRecord, Send

PAUSE = 0.05  # seconds without a stored result after which acknowledgements are sent
LONGEST = 1.0  # seconds that they wait at most
MANY = 8  # messages of one node, or this many bytes of outputs, that are acknowledged at once: the node's window
LARGE = 256 * 1024


@dataclass(slots=True)
class _Due:
    """The next acknowledgement of one connection."""

    record: NodeRecord
    peer: bytes | None
    number: int = 0
    close: list[str] = field(default_factory=list)
    count: int = 0
    size: int = 0


class Acknowledgements:
    """The next acknowledgement of each node."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._due: dict[str, _Due] = {}
        self._some = Event()
        self._last = 0.0
        spawn("acknowledgements", self._run, vital=True)

    def stored(self, record: NodeRecord, peer: bytes | None, number: int, close: list[str], size: int) -> None:
        """Message `number` of connection `peer` is on disk.

        Args:
            close: jobs that the node may forget.
            size: bytes of the message's outputs.
        """
        if record.peer != peer:  # each connection numbers its messages anew
            return
        due = self._due.get(record.name)
        if due is None or due.peer != peer:
            due = self._due[record.name] = _Due(record, peer)
        due.number = number
        due.close += close
        due.count += 1
        due.size += size
        self._last = time.monotonic()
        if due.count >= MANY or due.size >= LARGE:
            self.flush(record)
        else:
            self._some.set()

    def flush(self, record: NodeRecord) -> None:
        """Send what is due to the node; called before each message to it, so that it closes jobs in order."""
        due = self._due.pop(record.name, None)
        if due is not None and due.record.peer == due.peer:
            self._send(due.record, messages.encode("ack", number=due.number, close=due.close), ())

    def _run(self) -> None:
        while True:
            self._some.wait()
            self._gather()
            self._some.clear()
            pace = Pace()
            for due in list(self._due.values()):
                self.flush(due.record)
                pace.pause()

    def _gather(self) -> None:
        """Wait until no result was stored for `PAUSE`, or `LONGEST` has passed."""
        until = time.monotonic() + LONGEST
        while (now := time.monotonic()) < until:
            gevent.sleep(min(PAUSE, until - now))
            if time.monotonic() - self._last >= PAUSE:
                return

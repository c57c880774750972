"""Acknowledgements of stored results, gathered for a moment: when a whole fleet answers at once, results come first.

An acknowledgement covers all messages of the node before it, so the newest number and all jobs to close are enough.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import gevent
from gevent.event import Event

from director.protocol import messages
from director.runtime.greenlets import Pace, spawn
from director.server.roster import NodeRecord, Send

PAUSE = 0.05  # seconds without a stored result after which what was gathered goes
LONGEST = 1.0  # seconds that it may wait while more come
MANY = 8  # messages of one node, or this many bytes of their outputs, that wait for nothing: it may send no more
LARGE = 256 * 1024


@dataclass(slots=True)
class _Due:
    """What one connection of a node is to be told."""

    record: NodeRecord
    peer: bytes | None
    number: int = 0
    close: list[str] = field(default_factory=list)
    count: int = 0
    size: int = 0


class Acknowledgements:
    """One line for each node that is to be told something."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._due: dict[str, _Due] = {}
        self._some = Event()
        self._last = 0.0
        spawn("acknowledgements", self._run, vital=True)

    def stored(self, record: NodeRecord, peer: bytes | None, number: int, close: list[str], size: int) -> None:
        """Message `number` of the connection `peer` is on disk; `close` are jobs that the node may forget."""
        if record.peer != peer:  # a client that was started again counts its messages anew
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
            self._tell(self._due.pop(record.name))
        else:
            self._some.set()

    def flush(self, record: NodeRecord) -> None:
        """Before anything else goes to the node: it must have ended its jobs before it hears of the next one."""
        due = self._due.pop(record.name, None)
        if due is not None:
            self._tell(due)

    def _run(self) -> None:
        while True:
            self._some.wait()
            self._gather()
            self._some.clear()
            pace = Pace()
            for name in list(self._due):
                due = self._due.pop(name, None)
                if due is not None:
                    self._tell(due)
                pace.pause()

    def _gather(self) -> None:
        """Until no result was stored for a moment, or they have waited long enough."""
        until = time.monotonic() + LONGEST
        while (now := time.monotonic()) < until:
            gevent.sleep(min(PAUSE, until - now))
            if time.monotonic() - self._last >= PAUSE:
                return

    def _tell(self, due: _Due) -> None:
        if due.record.peer == due.peer:
            self._send(due.record, messages.encode("ack", n=due.number, close=due.close), ())

"""Sends messages to nodes through the ROUTER; a node gets its due acknowledgement before anything else.

Acknowledgements of stored results are gathered for a moment: while a whole fleet reports, results are read first. An
acknowledgement covers all earlier messages of its connection, so the highest number and all jobs to close suffice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import gevent
from gevent.event import Event

from director.protocol import messages
from director.protocol.connections import Frame
from director.protocol.transport import Router
from director.runtime.greenlets import Pace, spawn
from director.server.roster import NodeRecord, Roster

PAUSE = 0.05  # seconds without a stored result after which acknowledgements are sent
LONGEST = 1.0  # seconds that they wait at most
MANY = 8  # messages of one node, or this many bytes of outputs, that are acknowledged at once: the node's window
LARGE = 256 * 1024


@dataclass(slots=True)
class _Due:
    """The next acknowledgement of one connection."""

    record: NodeRecord
    number: int = 0
    close: list[str] = field(default_factory=list)
    count: int = 0
    size: int = 0


class NodeSender:
    """Sends to sessions, and to connections that have none yet."""

    def __init__(self, router: Router, roster: Roster) -> None:
        self._router, self._roster = router, roster
        self._due: dict[bytes | None, _Due] = {}  # by connection
        self._some = Event()
        self._last = 0.0
        spawn("acknowledgements", self._acknowledge, vital=True)

    def send(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...] = ()) -> bool:
        """Queue a message for a node; False when it surely was not delivered. The node must say hello again then."""
        self._flush(record.peer)
        return self._queue(record, header, frames)

    def send_shared(self, record: NodeRecord, message: Frame) -> bool:
        """Queue a message that others get too, as `send`; acknowledgements do not wait for it, and it not for them."""
        if record.peer is not None and self._router.send_shared(record.peer, message):
            return True
        self._roster.detach(record)
        return False

    def send_to(self, peer: bytes, header: bytes) -> bool:
        """Queue a message for a connection; False when the connection is gone or full."""
        return self._router.send(peer, header)

    def ask(self, peer: bytes, number: int) -> bool:
        """Ask a connection for a hello that names this number; False when it is gone or full."""
        fields = {"v": messages.VERSION, "within": 0.0, "known": True, "ask": number}
        return self.send_to(peer, messages.encode("identify", **fields))

    def identify(self, peer: bytes, within: float = 0.0, known: bool = True) -> bool:
        """Ask a connection for a hello at a random moment within so many seconds; False when it is gone or full.

        Args:
            known: False for a key that is no node: the client is asked to enrol instead.
        """
        fields = {"v": messages.VERSION, "within": round(within, 3), "known": known}
        return self.send_to(peer, messages.encode("identify", **fields))

    def stored(self, record: NodeRecord, peer: bytes | None, number: int, close: list[str], size: int) -> None:
        """Message `number` of connection `peer` is on disk: acknowledge it soon.

        Args:
            close: jobs that the node may forget.
            size: bytes of the message's outputs.
        """
        if record.peer != peer:  # each connection numbers its messages anew
            return
        due = self._due.setdefault(peer, _Due(record))
        due.number = number
        due.close += close
        due.count += 1
        due.size += size
        self._last = time.monotonic()
        if due.count >= MANY or due.size >= LARGE:
            self._flush(peer)
        else:
            self._some.set()

    def _queue(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...] = ()) -> bool:
        if record.peer is None:
            return False
        if self._router.send(record.peer, header, *frames):
            return True
        self._roster.detach(record)
        return False

    def _flush(self, peer: bytes | None) -> None:
        """Send the acknowledgement that is due on the connection; before each message, so that jobs close in order."""
        due = self._due.pop(peer, None)
        if due is not None and due.record.peer == peer:
            self._queue(due.record, messages.encode("ack", number=due.number, close=due.close))

    def _acknowledge(self) -> None:
        while True:
            self._some.wait()
            self._gather()
            self._some.clear()
            pace = Pace()
            for peer in list(self._due):
                self._flush(peer)
                pace.pause()

    def _gather(self) -> None:
        """Wait until no result was stored for `PAUSE`, or `LONGEST` has passed."""
        until = time.monotonic() + LONGEST
        while (now := time.monotonic()) < until:
            gevent.sleep(min(PAUSE, until - now))
            if time.monotonic() - self._last >= PAUSE:
                return

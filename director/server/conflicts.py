"""Tells a restarted client from a copy of it: asks on the older connection whether a client still answers there.

A copied state folder gives two clients one key. The server would take them for one node that connects again and
again, and steps would run on both. A restarted client has left its older connection, so nothing answers there.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from gevent.event import Event

PATIENCE = 3.0  # seconds that the older connection has to answer, or two heartbeats when they are shorter


class Conflicts:
    """Open questions to older connections.

    Args:
        identify: sends `identify` with the number of a question to a connection; False when it is gone.
        interval: of heartbeats, in seconds.
    """

    def __init__(self, identify: Callable[[bytes, int], bool], interval: float) -> None:
        self._identify = identify
        self._patience = min(PATIENCE, 2 * interval)
        self._numbers = count(1)
        self._open: dict[tuple[bytes, object], Event] = {}

    def still_answers(self, peer: bytes) -> bool:
        """Whether a client answers on the connection; blocks until it does or the time is over."""
        number = next(self._numbers)
        event = self._open[peer, number] = Event()
        try:
            return self._identify(peer, number) and bool(event.wait(self._patience))
        finally:
            del self._open[peer, number]

    def answered(self, peer: bytes, number: object) -> None:
        """A hello came from the connection, and names this question; one that was on its way before names none."""
        event = self._open.get((peer, number)) if isinstance(number, int) else None
        if event is not None:
            event.set()

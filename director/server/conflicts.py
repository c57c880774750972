"""Tells a restarted client from a copy of it: asks on the older connection whether a client still answers there.

A copied state folder gives two clients one key. The server would take them for one node that connects again and
again, and steps would run on both. A restarted client has left its older connection, so nothing answers there.
"""

from __future__ import annotations

from collections.abc import Callable

from gevent.event import Event

PATIENCE = 3.0  # seconds that the older connection has to answer, or two heartbeats when they are shorter


class Conflicts:
    """Open questions to older connections.

    Args:
        identify: sends `identify` to a connection; False when it is gone.
        interval: of heartbeats, in seconds.
    """

    def __init__(self, identify: Callable[[bytes], bool], interval: float) -> None:
        self._identify = identify
        self._patience = min(PATIENCE, 2 * interval)
        self._open: dict[bytes, Event] = {}

    def still_answers(self, peer: bytes) -> bool:
        """Whether a client answers on the connection; blocks until it does or the time is over."""
        event = self._open.setdefault(peer, Event())
        try:
            return self._identify(peer) and bool(event.wait(self._patience))
        finally:
            self._open.pop(peer, None)

    def answered(self, peer: bytes) -> None:
        """A hello came from the connection."""
        event = self._open.get(peer)
        if event is not None:
            event.set()

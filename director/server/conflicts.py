"""Tells a client that connects anew from a copy of it: who holds the connection is asked whether it lives.

A copied state folder makes two clients with one key. The server would know them as one node that connects again
and again, and steps would run on both. A client that was started again has left its old connection, so nobody
answers there; a copy's original does.
"""

from __future__ import annotations

from collections.abc import Callable

from gevent.event import Event

PATIENCE = 3.0  # seconds the holder has for its answer, or two beats when they are shorter


class Conflicts:
    """Args: ask: sends `who` to a connection, False when it is gone. interval: of the beats, in seconds."""

    def __init__(self, ask: Callable[[bytes], bool], interval: float) -> None:
        self._ask = ask
        self._patience = min(PATIENCE, 2 * interval)
        self._asked: dict[bytes, Event] = {}

    def lives(self, holder: bytes) -> bool:
        """Whether somebody answers at the connection `holder`; blocks until that is known."""
        event = self._asked.setdefault(holder, Event())
        try:
            return self._ask(holder) and bool(event.wait(self._patience))
        finally:
            self._asked.pop(holder, None)

    def answered(self, peer: bytes) -> None:
        """A hello came from `peer`: whoever is there lives."""
        event = self._asked.get(peer)
        if event is not None:
            event.set()

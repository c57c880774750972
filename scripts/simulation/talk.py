"""A simulated step that prints lines for some seconds: `RUN talk SECONDS`; nothing is made before somebody reads it."""

from __future__ import annotations

import time
from typing import Any

import gevent

from director.states import SUCCESS
from director.verbs.base import Outcome

LINES = 10  # each second
LINE = 80  # bytes of a line, with its end


def text(first: int, last: int) -> bytes:
    """The bytes from `first` to before `last` of what such a step prints: numbered lines."""
    lines = b"".join(b"%079d\n" % number for number in range(first // LINE, -(-last // LINE)))
    start = first // LINE * LINE
    return lines[first - start : last - start]


class Talking:
    """Has the method of `process.output.Output` that a follower needs."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def total(self) -> int:
        """Bytes printed so far."""
        return int((time.monotonic() - self._began) * LINES) * LINE

    def since(self, offset: int, most: int) -> tuple[int, bytes]:
        """See `Output.since`."""
        return offset, text(offset, max(offset, min(self.total, offset + most)))


class Silent:
    """A stream without output."""

    def since(self, offset: int, most: int) -> tuple[int, bytes]:
        """See `Output.since`."""
        return offset, b""


def talk(running: Any, seconds: float) -> Outcome:
    """Print lines for so long."""
    talking = Talking()
    running.shown, running.handle.outputs = True, (talking, Silent())
    try:
        gevent.sleep(seconds)
    finally:
        running.handle.outputs = None
    return Outcome(SUCCESS, 0, text(0, min(talking.total, 1 << 20)))

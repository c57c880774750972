"""The client's priority, raised while a task has many processes: among thousands of busy ones it would wait seconds."""

from __future__ import annotations

import contextlib
import os


class Priority:
    """Of this thread, not of what it starts; unchanged where it may not be raised."""

    def __init__(self) -> None:
        self._usual: tuple[int, os.sched_param] | None = None

    def high(self) -> None:
        """Raise it to real time: niceness only gives a larger share, which is small beside thousands."""
        if self._usual is None:
            usual = os.sched_getscheduler(0), os.sched_getparam(0)
            with contextlib.suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
                self._usual = usual

    def usual(self) -> None:
        """Restore it."""
        if self._usual is not None:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(0, *self._usual)
            self._usual = None

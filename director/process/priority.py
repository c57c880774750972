"""Has the client run before its tasks while one has many processes: among thousands of busy ones it would wait for
seconds, and end none.
"""

from __future__ import annotations

import contextlib
import os


class Priority:
    """Of this thread, not of what it starts; where it may not be raised, it stays as it is."""

    def __init__(self) -> None:
        self._usual: tuple[int, os.sched_param] | None = None

    def high(self) -> None:
        """Real time, as niceness only gives a larger share: small still where many sessions have one each."""
        if self._usual is None:
            usual = os.sched_getscheduler(0), os.sched_getparam(0)
            with contextlib.suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
                self._usual = usual

    def usual(self) -> None:
        """As it was before."""
        if self._usual is not None:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(0, *self._usual)
            self._usual = None

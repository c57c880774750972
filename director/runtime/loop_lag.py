"""Measures how long the turns of the gevent loop take, and logs long ones.

One watcher runs first after the loop has polled for events, another last before it polls again. Between the two the
loop handles neither heartbeats nor operators.
"""

from __future__ import annotations

import logging
import time

import gevent
from gevent import get_hub

from director.runtime.greenlets import spawn

log = logging.getLogger(__name__)

EVERY = 10.0
LOUD = 0.25  # seconds; a longer turn is logged
FIRST, LAST = 2, -2  # priorities of libev
LATELY = 6  # periods of EVERY that `lately` covers


class LoopLag:
    """The longest turn of this thread's loop, in seconds.

    Attributes:
        ever: since the start.
        busy: the most CPU time of this thread in one turn since the start; a turn that took longer waited for a
            core.
    """

    def __init__(self, name: str, every: float = EVERY) -> None:
        self.ever = self.busy = 0.0
        self._taken = 0.0  # the longest since `take`
        self._stretch = 0.0  # the longest in this period
        self._stretches = [0.0] * LATELY
        self._name, self._every = name, every
        self._began, self._worked = time.monotonic(), time.thread_time()
        loop = get_hub().loop
        self._watchers = loop.check(ref=False, priority=FIRST), loop.prepare(ref=False, priority=LAST)
        self._watchers[0].start(self._begin)
        self._watchers[1].start(self._end)
        spawn(f"{name} lag gauge", self._tell, vital=False)

    def start_anew(self) -> None:
        """Forget the turns so far: the start is one long turn that delays nothing."""
        self.ever = self.busy = self._taken = self._stretch = 0.0
        self._begin()

    def take(self) -> float:
        """The longest turn since the last call, in seconds."""
        taken, self._taken = self._taken, 0.0
        return taken

    @property
    def lately(self) -> float:
        """The longest turn of about the last minute, in seconds."""
        return max(self._stretch, *self._stretches)

    def _begin(self) -> None:
        self._began, self._worked = time.monotonic(), time.thread_time()

    def _end(self) -> None:
        lag = time.monotonic() - self._began
        if lag > self.busy:  # a shorter turn cannot have more CPU time
            self.busy = max(self.busy, time.thread_time() - self._worked)
        if lag > self._stretch:
            self._stretch = lag
        if lag > self._taken:
            self._taken = lag
        if lag > self.ever:
            self.ever = lag

    def _tell(self) -> None:
        """Log long turns; a greenlet, as the loop must not wait for the log."""
        while True:
            gevent.sleep(self._every)
            worst, self._stretch = self._stretch, 0.0
            self._stretches = [*self._stretches[1:], worst]
            if worst > LOUD:
                log.warning("%s: the loop was blocked for %.0f ms", self._name, worst * 1000)

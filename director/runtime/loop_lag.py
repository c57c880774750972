"""How long the gevent loop was kept from turning: a gauge that says so in the log.

Two watchers see every turn: one first thing after the loop has looked for events, one last thing before it looks
again. What lies between is time in which nothing else was heard: no heartbeat, no operator.
"""

from __future__ import annotations

import logging
import time

import gevent
from gevent import get_hub

from director.runtime.greenlets import spawn

log = logging.getLogger(__name__)

EVERY = 10.0
LOUD = 0.25  # seconds in one turn that are worth a line
FIRST, LAST = 2, -2  # priorities of libev: before and behind all others
LATELY = 6  # stretches of EVERY that `lately` looks back over


class LoopLag:
    """The longest turn of this thread's loop, in seconds.

    Attributes:
        ever: since the start.
        busy: the most CPU time of this thread in one turn since the start; what a turn took beyond that it
            waited for a core, with others on the machine.
    """

    def __init__(self, name: str, every: float = EVERY) -> None:
        self.ever = self.busy = 0.0
        self._taken = 0.0  # the worst since `take`
        self._stretch = 0.0  # the worst since the last line could be written
        self._stretches = [0.0] * LATELY
        self._name, self._every = name, every
        self._began, self._worked = time.monotonic(), time.thread_time()
        loop = get_hub().loop
        self._watchers = loop.check(ref=False, priority=FIRST), loop.prepare(ref=False, priority=LAST)
        self._watchers[0].start(self._begin)
        self._watchers[1].start(self._end)
        spawn(f"{name} lag gauge", self._tell, vital=False)

    def start_anew(self) -> None:
        """Forget what was seen: a start is one long turn that keeps nobody waiting."""
        self.ever = self.busy = self._taken = self._stretch = 0.0
        self._begin()

    def take(self) -> float:
        """The worst since the last call."""
        taken, self._taken = self._taken, 0.0
        return taken

    @property
    def lately(self) -> float:
        """The worst of about the last minute."""
        return max(self._stretch, *self._stretches)

    def _begin(self) -> None:
        self._began, self._worked = time.monotonic(), time.thread_time()

    def _end(self) -> None:
        lag = time.monotonic() - self._began
        if lag > self.busy:  # else it cannot have worked longer either
            self.busy = max(self.busy, time.thread_time() - self._worked)
        if lag > self._stretch:
            self._stretch = lag
        if lag > self._taken:
            self._taken = lag
        if lag > self.ever:
            self.ever = lag

    def _tell(self) -> None:
        """In a greenlet of its own, as the loop itself must not wait for the log."""
        while True:
            gevent.sleep(self._every)
            worst, self._stretch = self._stretch, 0.0
            self._stretches = [*self._stretches[1:], worst]
            if worst > LOUD:
                log.warning("%s: the loop was blocked for %.0f ms", self._name, worst * 1000)

"""Watches long tasks: counts the processes of each, and measures how long this client itself was suspended.

One timer serves all tasks. Counting reads /proc for each process of a task, so it is done rarely, and at once when the
machine has many more threads than at the last count.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Protocol

import gevent

from director.process.bounds import MANY
from director.runtime.greenlets import spawn

TICK = 0.1  # seconds
SUSPENDED = 1.0  # seconds without a tick after which this process or its machine was stopped meanwhile
RARELY, OFTEN = 2.0, 0.2  # seconds between two counts of a quiet task; the second to see memory grow
SHARE, HASTE = 20, 2  # the pause after a count as a multiple of its duration; the second while a task grows


class Counted(Protocol):
    """A running task."""

    def count(self) -> int:
        """How many processes it has; ends it when it exceeds a bound."""


class Watch:
    """All long tasks of this client; there is one.

    Attributes:
        suspended: seconds in which this client was stopped while a task was watched.
    """

    def __init__(self) -> None:
        self._tasks: dict[Counted, float] = {}  # and the seconds between two counts
        self._timer: Any = None
        self._counter: Any = None
        self._counted: dict[Counted, int] = {}  # processes of the tasks that had many at the last count
        self._priority = Priority()
        self.suspended = 0.0
        self._last = 0.0  # when the clock was last read
        self._threads = 0  # of the machine, the fewest since the last count
        self._soon = self._late = 0.0  # when the next count may come, and when it must
        self._load = -1

    def add(self, task: Counted, since: float, every: float = RARELY) -> None:
        """Count this task every `every` seconds until it is removed, with at most a twentieth of a core.

        Args:
            since: monotonic time at which the client was surely running.
        """
        if not self._tasks:
            self._last = since
            self._threads = self._threads_now()
            self._soon, self._late = since, since + every
            self._timer = gevent.get_hub().loop.timer(TICK, TICK)
            self._timer.start(self._tick)
            self.clock()
        self._tasks[task] = every
        self._late = min(self._late, since + every)

    def remove(self, task: Counted) -> None:
        """Stop watching this task, if it is watched."""
        self._tasks.pop(task, None)
        if not self._tasks and self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None
            self._counted = {}
            self._priority.usual()

    def clock(self) -> float:
        """Monotonic seconds without those in which this client was suspended; only valid while a task is watched."""
        now = time.monotonic()
        if self._timer is not None:
            if now - self._last > SUSPENDED:
                self.suspended += now - self._last - TICK
            self._last = now
        return now - self.suspended

    def _tick(self) -> None:
        self.clock()
        threads = self._threads_now()
        self._threads = min(self._threads, threads)
        now = time.monotonic()
        more = threads > self._threads + MANY
        if more:
            self._priority.high()
        if (now >= self._late or (more and now >= self._soon)) and self._counter is None:
            self._counter = spawn("count of processes", self._count, vital=False)

    def _count(self) -> None:
        began, before = time.monotonic(), self._counted
        try:
            counts = {task: task.count() for task in list(self._tasks)}
            self._counted = {task: count for task, count in counts.items() if count > MANY and task in self._tasks}
        finally:
            self._counter = None
            self._threads = self._threads_now()
            self._plan(time.monotonic() - began, any(n > before.get(task, 0) for task, n in self._counted.items()))
        if not self._counted:
            self._priority.usual()

    def _plan(self, took: float, grows: bool) -> None:
        now = time.monotonic()
        self._soon = now + took * (HASTE if grows else SHARE)
        rest = min(self._tasks.values(), default=RARELY)
        self._late = self._soon if grows else max(now + rest, self._soon)

    def _threads_now(self) -> int:
        """Of the machine; 0 where it does not say."""
        try:
            if self._load < 0:
                self._load = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
            return int(os.pread(self._load, 100, 0).split()[3].partition(b"/")[2])
        except (OSError, IndexError, ValueError):
            return 0


class Priority:
    """Of this thread, not of what it starts; unchanged where it may not be raised.

    It is raised while a task has many processes: among thousands of busy ones the client would wait seconds.
    """

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


WATCH = Watch()

"""Starts greenlets; each has a name, is vital to the program or not, and its death is logged."""

from __future__ import annotations

import gc
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
from gevent import Greenlet

log = logging.getLogger(__name__)


def calm(objects: int = 100_000) -> None:
    """Make garbage collections rare, for a process with many long-lived objects.

    Args:
        objects: new objects between two collections of the youngest.
    """
    gc.set_threshold(objects, 50, 100)
    gevent.config.track_greenlet_tree = False


_end_program: Callable[[str], None] = log.critical


def on_vital_death(end: Callable[[str], None]) -> None:
    """Set what is called with the reason when a vital greenlet dies; it must end this process."""
    global _end_program
    _end_program = end


def spawn(name: str, function: Callable[..., Any], *args: Any, vital: bool, after: float | None = None) -> Greenlet:
    """Run `function(*args)` in a greenlet; an exception in it is logged.

    Args:
        vital: whether the exception ends the program.
        after: seconds to wait before the call.
    """
    greenlet = Greenlet(function, *args)
    greenlet.name = name

    def died(dead: Greenlet) -> None:
        log.error("greenlet %s died", name, exc_info=dead.exc_info)
        if vital:
            _end_program(f"{name} died: {dead.exception}")

    greenlet.link_exception(died)
    if after is None:
        greenlet.start()
    else:
        greenlet.start_later(after)
    return greenlet


class GreenletPool:
    """Runs functions in greenlets that are used again, as starting one costs as much as running a quick function.

    Functions begin in the order they were given, soon after the call; while one is blocked, another greenlet runs
    the next. The pool keeps as many greenlets as were ever blocked at the same time.
    """

    def __init__(self) -> None:
        self._queue: deque[tuple[str, Callable[[], object]]] = deque()
        self._idle: list[Greenlet] = []
        self._is_waking = False  # a greenlet is about to look into the queue

    def run(self, name: str, function: Callable[[], object]) -> None:
        """Queue a function; an exception that comes out of it is logged. It may end itself by GreenletExit."""
        self._queue.append((name, function))
        self._wake()

    def _wake(self) -> None:
        if self._is_waking or not self._queue:
            return
        self._is_waking = True
        if self._idle:
            gevent.get_hub().loop.run_callback(self._idle.pop().switch)
        else:
            spawn("pooled", self._work, vital=False)

    def _work(self) -> None:
        while True:
            self._is_waking = False
            while self._queue:
                name, function = self._queue.popleft()
                self._wake()  # so that the others go on if this one blocks
                try:
                    function()
                except gevent.GreenletExit:
                    log.debug("greenlet %s was ended", name)
                except Exception:
                    log.exception("greenlet %s died", name)
            self._idle.append(gevent.getcurrent())
            gevent.get_hub().switch()


spawn_pooled = GreenletPool().run  # one pool for the process; what it runs is not vital


def periodic(name: str, seconds: float, function: Callable[[], Any]) -> Greenlet:
    """Call `function` every `seconds` in a vital greenlet; what it raises is logged, and it is called again."""

    def loop() -> None:
        while True:
            gevent.sleep(seconds)
            try:
                function()
            except Exception:
                log.exception("%s failed; next try in %g s", name, seconds)

    return spawn(name, loop, vital=True)


def breathe() -> None:
    """Let the loop poll for events and run the greenlets that wait for them.

    `gevent.sleep(0)` does not: up to fifty of them run before the loop polls, which delayed heartbeats and operators
    by a quarter of a second.
    """
    hub = gevent.get_hub()
    timer = hub.loop.timer(0.0)
    try:
        hub.wait(timer)
    finally:
        timer.close()


class Pace:
    """Splits long work into turns of so many seconds: `pause` lets other greenlets run at the end of each."""

    def __init__(self, seconds: float = 0.005) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    def pause(self) -> None:
        """Let others run when the turn is over."""
        if time.monotonic() > self._until:
            breathe()
            self._until = time.monotonic() + self._seconds


def jitter(seconds: float) -> float:
    """A random time between 0 and `seconds`."""
    return random.uniform(0.0, seconds)

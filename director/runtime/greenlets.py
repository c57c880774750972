"""Greenlets that cannot die in silence: each has a name, and is declared vital to the program or not."""

from __future__ import annotations

import gc
import logging
import random
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent import Greenlet

log = logging.getLogger(__name__)


def calm(objects: int = 100_000) -> None:
    """For a process with many long-lived objects: rarer garbage collections, no record of who spawned whom."""
    gc.set_threshold(objects, 50, 100)
    gevent.config.track_greenlet_tree = False


_end_program: Callable[[str], None] = log.critical


def on_vital_death(end: Callable[[str], None]) -> None:
    """Let `end(reason)` be called when a vital greenlet dies; it must end this process."""
    global _end_program
    _end_program = end


def spawn(name: str, function: Callable[..., Any], *args: Any, vital: bool, after: float | None = None) -> Greenlet:
    """Run `function(*args)` in a greenlet; an exception that comes out of it is logged.

    Args:
        vital: whether the program is useless without it, so that the exception ends the program.
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


def periodic(name: str, seconds: float, function: Callable[[], Any]) -> Greenlet:
    """Call `function` every `seconds` until killed; what it raises is logged and the next call still comes.

    The greenlet is vital.
    """

    def loop() -> None:
        while True:
            gevent.sleep(seconds)
            try:
                function()
            except Exception:
                log.exception("%s failed; it is tried again in %g s", name, seconds)

    return spawn(name, loop, vital=True)


def breathe() -> None:
    """Let the loop look for events, and everybody run who waits for one, before this greenlet goes on.

    `gevent.sleep(0)` does not: it comes up to fifty times before the loop looks, which with turns of 5 ms kept
    heartbeats and operators waiting for a quarter of a second.
    """
    hub = gevent.get_hub()
    timer = hub.loop.timer(0.0)
    try:
        hub.wait(timer)
    finally:
        timer.close()


class Pace:
    """Long work in turns: after each piece `pause` lets others go on when the turn has taken long enough.

    Args:
        seconds: of a turn.
    """

    def __init__(self, seconds: float = 0.005) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    def pause(self) -> None:
        """Breathe, if it is time."""
        if time.monotonic() > self._until:
            breathe()
            self._until = time.monotonic() + self._seconds


def jitter(seconds: float) -> float:
    """Full jitter: any time from none to `seconds`."""
    return random.uniform(0.0, seconds)

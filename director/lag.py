"""How long the gevent loop was kept from turning: a gauge that says so in the log."""

from __future__ import annotations

import logging
import time

import gevent

from director.greenlets import spawn

log = logging.getLogger(__name__)

EVERY = 5.0
LOUD = 0.25  # seconds of lag that are worth a line


class LagGauge:
    """`worst` is the longest delay of a timer since it was last asked for; `ever` since the start; seconds."""

    def __init__(self, name: str, every: float = EVERY) -> None:
        self.worst = 0.0
        self.ever = 0.0
        self._name = name
        self._every = every
        spawn(f"{name} lag gauge", self._measure)

    def take(self) -> float:
        """The worst lag since the last call."""
        worst, self.worst = self.worst, 0.0
        return worst

    def _measure(self) -> None:

        while True:
            before = time.monotonic()
            gevent.sleep(self._every)
            lag = max(0.0, time.monotonic() - before - self._every)
            self.worst = max(self.worst, lag)
            self.ever = max(self.ever, lag)
            if lag > LOUD:
                log.warning("%s: the loop was blocked for %.0f ms", self._name, lag * 1000)

"""When a peer counts as silent, and how long to wait before the next try: pure arithmetic, time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

MISSED = 3


@dataclass(slots=True)
class Pulse:
    """Who was heard when; all times are of one monotonic clock, in seconds."""

    interval: float
    heard: float

    def hear(self, now: float) -> None:
        """Any message is a sign of life."""
        self.heard = now

    def silent(self, now: float) -> bool:
        """Whether three beats were missed."""
        return now - self.heard > MISSED * self.interval

    def silence(self, now: float) -> float:
        """Seconds since the last sign of life."""
        return max(0.0, now - self.heard)


@dataclass(slots=True)
class Backoff:
    """Doubling pauses from `first` to `last` seconds; the caller adds the jitter."""

    first: float = 0.5
    last: float = 30.0
    tries: int = 0

    def next(self) -> float:
        """The longest pause before the next try."""
        pause = min(self.last, self.first * 2 ** min(self.tries, 30))
        self.tries += 1
        return pause

    def reset(self) -> None:
        """The last try went well."""
        self.tries = 0

"""When a peer is silent, and how long to wait before the next try; pure, as time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

MISSED = 3


@dataclass(slots=True)
class Pulse:
    """When a peer last sent a message. Times are monotonic, in seconds; `interval` is that of heartbeats."""

    interval: float
    heard: float

    def hear(self, now: float) -> None:
        """Note a message, of any kind."""
        self.heard = now

    def silent(self, now: float) -> bool:
        """Whether three heartbeats were missed."""
        return now - self.heard > MISSED * self.interval

    def silence(self, now: float) -> float:
        """Seconds since the last message."""
        return max(0.0, now - self.heard)


@dataclass(slots=True)
class Backoff:
    """Pauses that double from `first` to `last` seconds; the caller adds the jitter."""

    first: float = 0.5
    last: float = 30.0
    tries: int = 0

    def next(self) -> float:
        """The longest pause before the next try, in seconds."""
        pause = min(self.last, self.first * 2 ** min(self.tries, 30))
        self.tries += 1
        return pause

    def reset(self) -> None:
        """Begin with `first` again, after a success."""
        self.tries = 0

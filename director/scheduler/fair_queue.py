"""A queue of items by job: each job's items keep their order, and jobs take turns, so that no job delays another.

An item that is queued already is not added again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from gevent.event import Event

T = TypeVar("T", bound=Hashable)


class FairQueue(Generic[T]):
    """One line of items for each job that has any."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()
        self._filled = Event()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, job: str, item: T) -> None:
        """Append an item to the job's line, unless it is there."""
        self._lines.setdefault(job, OrderedDict())[item] = None
        self._filled.set()

    def take(self, most: int) -> tuple[str, list[T]]:
        """Remove up to `most` items of the next job, which then queues behind the others. Raises KeyError: empty."""
        job, line = self._lines.popitem(last=False)
        taken = [line.popitem(last=False)[0] for _ in range(min(most, len(line)))]
        if line:
            self._lines[job] = line
        elif not self._lines:
            self._filled.clear()
        return job, taken

    def wait(self) -> None:
        """Block until the queue has an item."""
        self._filled.wait()

"""The tasks that may run at once on this node, shared fairly: a free place goes to the job that waits longest.

A semaphore would not do: a job that gives its place back and asks for the next one at once would be served
before those that wait. Here a place is handed over, to each waiting job in turn, whatever number of its async
entries wait.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from gevent.event import AsyncResult

_Waiting = deque["AsyncResult[bool]"]


class Slots:
    """`count` places."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.free = count
        self._shut = 0
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Give the place that is held to others for as long as it is not needed.

        Afterwards it is taken back at once, even if for a moment one task too many runs then: who comes back with
        what it waited for never waits again.
        """
        self.give()
        try:
            yield
        finally:
            self.free -= 1

    def shut(self) -> None:
        """Give nobody a place until as many calls of `reopen`."""
        self._shut += 1

    def reopen(self) -> None:
        """See `shut`."""
        self._shut -= 1
        for _ in range(self.free):
            self.free -= 1
            self.give()

    def take(self, job: str) -> None:
        """Wait for a place for a task of `job`; whoever has it gives it back."""
        if self.free > 0 and not self._shut:
            self.free -= 1
            return
        turn: AsyncResult[bool] = AsyncResult()
        self._waiting.setdefault(job, deque()).append(turn)
        try:
            turn.get()
        except BaseException:
            self._leave(job, turn)
            raise

    def _leave(self, job: str, turn: AsyncResult[bool]) -> None:
        """Who waits was killed: give back what was handed over meanwhile, or leave the line."""
        if turn.ready():
            self.give()
            return
        line = self._waiting[job]
        line.remove(turn)
        if not line:
            del self._waiting[job]

    def give(self) -> None:
        """Give a place back."""
        self.free += 1
        if self.free <= 0 or self._shut or not self._waiting:
            return
        self.free -= 1
        job, line = self._waiting.popitem(last=False)
        turn = line.popleft()
        if line:
            self._waiting[job] = line  # behind all others
        turn.set(True)

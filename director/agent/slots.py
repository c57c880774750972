"""Slots: how many tasks may run at once on this node, shared fairly between its jobs.

A free slot goes to the job that waits longest, however many of its lanes wait. With a semaphore a job that gives its
slot back and takes the next one at once would overtake the jobs that wait.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from gevent.event import AsyncResult


class Slots:
    """`count` slots, of which `free` are free; below 0 when a task came back from `aside` and none was."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.free = count
        self._shut = 0
        self._waiting: OrderedDict[str, deque[AsyncResult[bool]]] = OrderedDict()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Give the caller's slot back inside the context.

        It is taken again at once at the end, even when one task too many runs for a moment then.
        """
        self.give()
        try:
            yield
        finally:
            self.free -= 1

    def shut(self) -> None:
        """Give no slot before `reopen` was called as often as this."""
        self._shut += 1

    def reopen(self) -> None:
        """See `shut`."""
        self._shut -= 1
        for _ in range(self.free):
            self.free -= 1
            self.give()

    def take(self, job: str) -> None:
        """Wait for a slot for a task of `job`; the caller must `give` it back."""
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
        """The greenlet that waits was killed: give back the slot it got meanwhile, or remove it from the queue."""
        if turn.ready():
            self.give()
            return
        queue = self._waiting[job]
        queue.remove(turn)
        if not queue:
            del self._waiting[job]

    def give(self) -> None:
        """Give a slot back."""
        self.free += 1
        if self.free <= 0 or self._shut or not self._waiting:
            return
        self.free -= 1
        job, queue = self._waiting.popitem(last=False)
        turn = queue.popleft()
        if queue:
            self._waiting[job] = queue  # behind all other jobs
        turn.set(True)

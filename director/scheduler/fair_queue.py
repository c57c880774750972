"""Things to do, by job: each job's own in their order, the jobs in turn, so that a huge one keeps nobody waiting."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

from gevent.event import Event

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A line for each job that has something to do."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[T]] = OrderedDict()
        self._some = Event()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, job: str, item: T) -> None:
        """To the end of the job's line."""
        line = self._lines.get(job)
        if line is None:
            line = self._lines[job] = deque()
        line.append(item)
        self._some.set()

    def take(self, most: int) -> tuple[str, list[T]]:
        """The job whose turn it is and the first of its things, `most` at most; then it is behind the others."""
        job, line = self._lines.popitem(last=False)
        taken = [line.popleft() for _ in range(min(most, len(line)))]
        if line:
            self._lines[job] = line
        elif not self._lines:
            self._some.clear()
        return job, taken

    def wait(self) -> None:
        """Until there is something to do."""
        self._some.wait()

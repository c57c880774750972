"""What the agent needs of its journal; and a journal in memory, for simulated clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from director.agent.journal.state import JobRecord
from director.protocol.results import TaskResult


class ClientJournal(Protocol):
    """The journal as the agent sees it; `Journal` has the meaning of each method."""

    instance: str

    @property
    def position(self) -> int:
        """How many facts were ever recorded."""

    @property
    def number(self) -> int:
        """The number of the newest result."""

    @property
    def jobs(self) -> Mapping[str, JobRecord]:
        """What is recorded of each job."""

    def take(self, seq: int, job: str, head: dict[str, Any], parts: list[tuple[int, int]], chunk: bytes) -> None:
        """The client was given a slice; durable on return."""

    def started(self, job: str, step: int, attempt: int) -> None:
        """A step is about to begin."""

    def result(self, job: str, step: int, row: TaskResult, outputs: bytes = b"") -> int:
        """A step has ended."""

    def stored(self, number: int) -> None:
        """The server has stored every result up to `number`."""

    def waiting(self) -> Iterator[tuple[int, str, TaskResult]]:
        """Number, job and result of what the server has not stored, oldest first."""

    def outputs(self, job: str, step: int) -> bytes:
        """Outputs of a result that is not stored."""

    def note(self, job: str, facts: dict[str, Any]) -> None:
        """Merge facts of a job over its earlier ones."""

    def sync(self) -> None:
        """Flush to disk."""

    def closed(self, job: str) -> None:
        """Forget the job."""


class MemoryJournal:
    """Keeps results until the server has stored them; counts the other facts."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.position = 0
        self.number = 0
        self.jobs: Mapping[str, JobRecord] = {}
        self._results: dict[int, tuple[str, TaskResult, bytes]] = {}

    def take(self, seq: int, job: str, head: dict[str, Any], parts: list[tuple[int, int]], chunk: bytes) -> None:
        """Count."""
        self.position += 1

    def started(self, job: str, step: int, attempt: int) -> None:
        """Count."""
        self.position += 1

    def result(self, job: str, step: int, row: TaskResult, outputs: bytes = b"") -> int:
        """Keep a result."""
        self.position += 1
        self.number += 1
        self._results[self.number] = (job, row, outputs)
        return self.number

    def stored(self, number: int) -> None:
        """Forget results."""
        while self._results and (first := next(iter(self._results))) <= number:
            del self._results[first]

    def waiting(self) -> Iterator[tuple[int, str, TaskResult]]:
        """Number, job and result, oldest first."""
        for number, (job, row, _) in list(self._results.items()):
            yield number, job, row

    def outputs(self, job: str, step: int) -> bytes:
        """Outputs of a result."""
        return next((out for name, row, out in self._results.values() if name == job and row.step == step), b"")

    def note(self, job: str, facts: dict[str, Any]) -> None:
        """Nothing is kept of jobs."""

    def sync(self) -> None:
        """There is no disk."""

    def closed(self, job: str) -> None:
        """Nothing is kept of jobs."""

"""A journal in memory, for simulated clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from director.agent.journal.state import JobRecord
from director.protocol.results import TaskResult


class MemoryJournal:
    """Has the methods of `Journal`; keeps results until the server has stored them and counts the other facts."""

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

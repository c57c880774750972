"""The parts of a client that keep nothing on disk: for simulated clients, benches and tests."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from director.agent.core import Agent
from director.agent.job_runner import JobRunner, Step
from director.agent.node_transfer import NodeTransfer
from director.agent.session import Session
from director.agent.step_runner import Apply
from director.protocol.results import TaskResult


class MemoryJournal:
    """Has the methods of `Journal`; keeps results until the server has stored them and counts the other facts."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.position = 0
        self.number = 0
        self.jobs: dict[str, Any] = {}
        self._results: dict[int, tuple[str, TaskResult]] = {}
        self._outputs: dict[tuple[str, int], bytes] = {}  # of the results, those that are not empty

    def take(self, job: str, head: dict[str, Any], parts: Any, chunks: Any) -> None:
        """Count."""
        self.position += 1

    def started(self, job: str, step: int, attempt: int) -> None:
        """Count."""
        self.position += 1

    def result(self, job: str, step: int, row: TaskResult, outputs: bytes = b"") -> int:
        """Keep a result."""
        self.position += 1
        self.number += 1
        self._results[self.number] = (job, row)
        if outputs:
            self._outputs[job, step] = outputs
        return self.number

    def stored(self, number: int) -> None:
        """Forget results."""
        while self._results and (first := next(iter(self._results))) <= number:
            job, row = self._results.pop(first)
            self._outputs.pop((job, row.step), None)

    def waiting(self) -> Iterator[tuple[int, str, TaskResult]]:
        """Number, job and result, oldest first."""
        for number, (job, row) in list(self._results.items()):
            yield number, job, row

    def outputs(self, job: str, step: int) -> bytes:
        """Outputs of a result."""
        return self._outputs.get((job, step), b"")

    def note(self, job: str, facts: dict[str, Any]) -> None:
        """Nothing is kept of jobs."""

    def sync(self) -> None:
        """There is no disk."""

    def closed(self, job: str) -> None:
        """Nothing is kept of jobs."""


class SimulatedNode:
    """A node that keeps nothing."""

    def as_message(self) -> dict[str, Any]:
        """The same profile for all."""
        return {"facts": {"hostname": "simulated", "os": {"id": "simulated"}}, "args": {}}

    def apply(self, effects: dict[str, Any]) -> bool:
        """Nothing is kept."""
        return False

    def take_labels(self, labels: dict[str, str]) -> None:
        """Nothing is kept."""

    def pass_over(self, job: JobRunner, step: Step, good: bool) -> None:
        """Nothing is kept."""

    def end_job(self, job: str) -> None:
        """Nothing is kept."""


def new_agent(
    name: str, send: Callable[..., bool], apply: Apply,
    credentials: Callable[[str], tuple[str, str]] = lambda name: ("", ""), sealing: Callable[[], list[str]] = list,
) -> Agent:  # fmt: skip
    """A client without a disk, whose steps are `apply`; `credentials` and `sealing` as of `Session`."""
    journal: Any = MemoryJournal(os.urandom(8).hex())
    session = Session(
        name, journal, SimulatedNode(), send, {"agent_uptime": time.time()}, credentials=credentials, sealing=sealing
    )
    return Agent(session, apply, NodeTransfer(session))

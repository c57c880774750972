"""What the agent asks of its journal; and one that keeps nothing on disk, for simulated clients."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from director.agent.journal import Journal
from director.agent.journal.state import JobRecord
from director.errors import StoreError
from director.protocol.results import TaskResult

log = logging.getLogger(__name__)


class ClientJournal(Protocol):
    """The journal as the agent sees it."""

    instance: str

    @property
    def mark(self) -> int:
        """Count of facts ever written."""

    number: int  # of the newest result

    def take(self, seq: int, job: str, head: dict[str, Any], parts: list[tuple[int, int]], chunk: bytes) -> None:
        """A slice was handed over; durable on return."""

    def started(self, job: str, step: int, attempt: int) -> None:
        """A step is about to begin."""

    def result(self, job: str, step: int, row: TaskResult, outputs: bytes = b"") -> int:
        """A step ended."""

    def stored(self, number: int) -> None:
        """The server has stored every result up to this number."""

    def waiting(self) -> Iterator[tuple[int, str, TaskResult]]:
        """Number, job and row of the results that are not stored."""

    def outputs(self, job: str, step: int) -> bytes:
        """Outputs of a result that is not stored."""

    def note(self, job: str, facts: dict[str, Any]) -> None:
        """Facts of a job that must survive."""

    def sync(self) -> None:
        """Everything so far survives a loss of power."""

    def closed(self, job: str) -> None:
        """Forget the job."""

    def replay(self) -> Mapping[str, JobRecord]:
        """What was there when the client started."""


class DiskJournal:
    """A `Journal` as a `ClientJournal`."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.instance = journal.instance
        self.started = journal.started
        self.number = 0
        self.stored = journal.stored
        self.note = journal.note
        self.sync = journal.sync
        self.closed = journal.closed
        self.replay = journal.replay

    @property
    def mark(self) -> int:
        """Count of facts ever written."""
        return self.journal.mark

    def result(self, job: str, step: int, row: TaskResult, outputs: bytes = b"") -> int:
        """A step ended."""
        self.number = self.journal.result(job, step, row, outputs)
        return self.number

    def take(self, seq: int, job: str, head: dict[str, Any], parts: list[tuple[int, int]], chunk: bytes) -> None:
        """One flush for all parts; the chunk's bytes are kept with the first."""
        for first, last in parts:
            self.journal.slice(seq, job, head, first, last, chunk, durable=False)
            head, chunk = {}, b""
        self.journal.sync()

    def waiting(self) -> Iterator[tuple[int, str, TaskResult]]:
        """Number, job and row of the results that are not stored, oldest first."""
        records = self.journal.replay().items()
        kept = [
            (one.number, job, TaskResult._make(one.row)) for job, record in records for one in record.results.values()
        ]
        yield from sorted(kept, key=lambda row: row[0])

    def outputs(self, job: str, step: int) -> bytes:
        """Outputs of a result; empty when the disk lost them."""
        record = self.journal.replay().get(job)
        kept = record.results.get(step) if record is not None else None
        try:
            return kept.outputs() if kept is not None else b""
        except StoreError as error:
            log.error("the output of step %d of job %s is lost: %s", step, job, error)
            return b""


class MemoryJournal:
    """Keeps what is needed while the process lives."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.mark = 0
        self.number = 0
        self._results: dict[int, tuple[str, TaskResult, bytes]] = {}

    def take(self, seq: int, job: str, head: dict[str, Any], parts: list[tuple[int, int]], chunk: bytes) -> None:
        """Counted."""
        self.mark += 1

    def started(self, job: str, step: int, attempt: int) -> None:
        """Counted."""
        self.mark += 1

    def result(self, job: str, step: int, row: TaskResult, outputs: bytes = b"") -> int:
        """Kept until it is stored."""
        self.mark += 1
        self.number += 1
        self._results[self.number] = (job, row, outputs)
        return self.number

    def stored(self, number: int) -> None:
        """Drop what the server has."""
        while self._results and (first := next(iter(self._results))) <= number:
            del self._results[first]

    def waiting(self) -> Iterator[tuple[int, str, TaskResult]]:
        """What the server may not have."""
        for number, (job, row, _) in list(self._results.items()):
            yield number, job, row

    def outputs(self, job: str, step: int) -> bytes:
        """Outputs of a result."""
        return next((out for name, row, out in self._results.values() if name == job and row.step == step), b"")

    def note(self, job: str, facts: dict[str, Any]) -> None:
        """Nothing survives anyway."""

    def sync(self) -> None:
        """Nothing survives anyway."""

    def closed(self, job: str) -> None:
        """Nothing is kept of it."""

    def replay(self) -> Mapping[str, JobRecord]:
        """Nothing was there before."""
        return {}

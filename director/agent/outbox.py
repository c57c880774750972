"""The outbox: results on their way to the server, in batches, kept in the journal until the server has stored them.

The first result of an idle client and the last one of a job are sent at once. Those in between wait for each other
up to BATCH_SECONDS: one message for each result would cost more than running a quick step.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any

import ujson
from gevent import get_hub

from director.agent.journal import Journal
from director.protocol import messages
from director.protocol.results import TaskResult

log = logging.getLogger(__name__)

BATCH_ROWS = 500
BATCH_BYTES = 4 * 1024 * 1024  # of outputs in one message
HEAD_BYTES = 2 * 1024 * 1024  # of rows in one message; the server refuses a larger header
BATCH_SECONDS = 0.2
IN_FLIGHT = 32  # messages that are not acknowledged
FLIGHT_BYTES = 4 * 1024 * 1024  # of outputs in them; the rest waits on this disk instead of in the server
IN_MEMORY = 16 * 1024 * 1024  # bytes of outputs kept in memory beside the journal

Send = Callable[..., bool]
Entry = tuple[int, str, TaskResult, "bytes | None"]  # number, job, row, outputs (None: read them from the journal)


class Outbox:
    """Results, begun steps and range ends that the server has not acknowledged.

    Args:
        journal: keeps each result until it is stored.
        send: queues one message, its parts as arguments; False when the connection does not take it.

    Attributes:
        open: whether messages may be sent: the server has welcomed this connection.
        last: monotonic time of the last message.
    """

    def __init__(self, journal: Journal, send: Send) -> None:
        self._journal = journal
        self._send = send
        self.open = False
        self.last = 0.0
        self._waiting: list[Entry] = []
        self._begun: dict[str, list[tuple[int, float]]] = {}
        self._ranges: dict[str, list[tuple[int, int, str, str]]] = {}
        self._sent: dict[int, tuple[int, int]] = {}  # message -> number of its last result, bytes of its outputs
        self._flying = 0  # bytes of outputs in sent messages
        self._number = random.getrandbits(48)  # so that acknowledgements for an earlier process match no message
        self._bytes = 0  # of outputs in memory
        self._timer: Any = None

    def add(self, job: str, row: TaskResult, outputs: bytes, more: bool) -> None:
        """Queue the newest result of the journal; `more` says whether another one is about to follow."""
        kept: bytes | None = outputs
        if self._bytes + len(outputs) > IN_MEMORY:
            kept = None
        else:
            self._bytes += len(outputs)
        self._waiting.append((self._journal.number, job, row, kept))
        self._schedule(more)

    def begun(self, job: str, step: int, at: float) -> None:
        """Report that a step is running since `at`, epoch seconds."""
        self._begun.setdefault(job, []).append((step, at))
        self._schedule(False)

    def end_range(self, job: str, first: int, last: int, letter: str, reason: str) -> None:
        """Report one state for all steps `first` to `last` that have no result."""
        ranges = self._ranges.setdefault(job, [])
        if (first, last, letter, reason) not in ranges:
            ranges.append((first, last, letter, reason))
        self._schedule(False)

    def acknowledged(self, number: int) -> None:
        """The server has stored message `number` and all before it. Raises StoreError."""
        if number not in self._sent:
            return
        full = self._is_full()  # a message waits for this one only then; else batches stay large
        last = 0
        for message in list(self._sent):  # in the order they were sent
            if message > number:
                break
            results, size = self._sent.pop(message)
            last = max(last, results)
            self._flying -= size
        if last:
            self._journal.stored(last)
        if full:
            self._schedule(False)

    def reopen(self) -> None:
        """The server has welcomed a new connection: send everything again that is not known to be stored."""
        self.open = True
        self._sent.clear()
        self._bytes = self._flying = 0
        self._waiting = [(number, job, row, None) for number, job, row in self._journal.waiting()]
        self.flush()

    def shut(self) -> None:
        """Send nothing until `reopen`."""
        self.open = False

    @property
    def empty(self) -> bool:
        """Whether the server has stored everything."""
        return not (self._waiting or self._sent or self._ranges)

    def _is_full(self) -> bool:
        return len(self._sent) >= IN_FLIGHT or self._flying >= FLIGHT_BYTES

    def _schedule(self, more: bool) -> None:
        """Send now, or within BATCH_SECONDS when more is about to follow."""
        if not self.open:
            return
        if not more or len(self._waiting) >= BATCH_ROWS or time.monotonic() - self.last > BATCH_SECONDS:
            self.flush()
        elif self._timer is None:
            self._timer = get_hub().loop.timer(BATCH_SECONDS)
            self._timer.start(self.flush)

    def flush(self) -> None:
        """Send what waits, as far as the connection takes it."""
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        while self.open and (self._waiting or self._begun or self._ranges) and not self._is_full():
            batch, outputs = self._batch()
            if not self._send_batch(batch, outputs):
                self.open = False
                return
            self._bytes -= sum([len(kept) for *_, kept in batch if kept])
            del self._waiting[: len(batch)]
            self._begun.clear()
            if not self._waiting:
                self._ranges.clear()
            self.last = time.monotonic()

    def _send_batch(self, batch: list[Entry], outputs: bytes) -> bool:
        self._number += 1
        jobs = self._reports(batch, self._ranges if len(batch) == len(self._waiting) else {})
        header = messages.encode("results", number=self._number, journal_position=self._journal.position, jobs=jobs)
        if not (self._send(header, outputs) if outputs else self._send(header)):
            return False
        self._sent[self._number] = (batch[-1][0] if batch else 0, len(outputs))
        self._flying += len(outputs)
        return True

    def _batch(self) -> tuple[list[Entry], bytes]:
        """The results of the next message, and their outputs one after another."""
        batch: list[Entry] = []
        found: list[bytes] = []
        size = head = 0
        for entry in self._waiting[:BATCH_ROWS]:
            number, job, row, outputs = entry
            if outputs is None:
                outputs = self._journal.outputs(job, row.step)
                entry = number, job, _with_sizes(row, outputs), None
            size += len(outputs)
            head += _header_size(row)
            if batch and (size > BATCH_BYTES or head > HEAD_BYTES):
                break
            batch.append(entry)
            found.append(outputs)
        return batch, b"".join(found)

    def _reports(self, batch: list[Entry], ranges: dict[str, list[tuple[int, int, str, str]]]) -> list[list[Any]]:
        """`[job, rows, begun, ranges]` for each run of rows of one job, in the order of the outputs."""
        begun = dict(self._begun)
        reports: list[list[Any]] = []
        for _, job, row, _ in batch:
            if not reports or reports[-1][0] != job:
                reports.append([job, [], begun.pop(job, []), []])
            reports[-1][1].append(row)
        for job in dict.fromkeys((*begun, *ranges)):
            reports.append([job, [], begun.get(job, []), ranges.get(job, [])])
        return reports


def _with_sizes(row: TaskResult, outputs: bytes) -> TaskResult:
    """The result with the sizes of the outputs that are there: the journal may have lost them."""
    if row.output_size == len(outputs):
        return row
    return row._replace(stdout_size=len(outputs), stderr_size=0)


def _header_size(row: TaskResult) -> int:
    """An upper bound of the bytes that a row takes in the header."""
    return 200 + 6 * len(row.reason or "") + (len(ujson.dumps(row.effects)) if row.effects else 0)

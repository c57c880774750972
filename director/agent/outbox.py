"""Results on their way to the server: batched, kept in the journal until the server has stored them.

An idle client's first result goes at once, a last one too; in between they travel in large batches, as a
message a result would cost more than running a quick step does.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import ujson
from gevent import get_hub

from director.agent.journal.base import ClientJournal
from director.protocol import messages
from director.protocol.results import TaskResult

log = logging.getLogger(__name__)

BATCH_ROWS = 500
BATCH_BYTES = 4 * 1024 * 1024
HEAD_BYTES = 2 * 1024 * 1024  # of rows; a larger header would be refused
BATCH_SECONDS = 0.2
IN_FLIGHT = 32  # messages that are not acknowledged yet
FLIGHT_BYTES = 4 * 1024 * 1024  # the same in bytes of outputs: large ones wait on this disk, not in the server
IN_MEMORY = 16 * 1024 * 1024  # bytes of outputs kept beside the journal

Entry = tuple[int, str, TaskResult, "bytes | None"]  # number, job, row, outputs (None: read them from the journal)


class Outbox:
    """`send(header, payload)` says whether the message was queued; `journal` keeps what was not stored."""

    def __init__(self, journal: ClientJournal, send: Callable[[bytes, bytes], bool]) -> None:
        self._journal = journal
        self._send = send
        self.open = False  # the server has welcomed this connection
        self._waiting: list[Entry] = []
        self._begun: dict[str, list[tuple[int, float]]] = {}
        self._rests: dict[str, list[tuple[int, int, str, str]]] = {}
        self._sent: dict[int, tuple[int, int]] = {}  # message number -> last result number in it, bytes of outputs
        self._flying = 0  # bytes of outputs in them
        self._number = random.getrandbits(48)  # an answer to an earlier process of this client means nothing here
        self._bytes = 0
        self.last = 0.0  # when something was sent, monotonic
        self._timer: Any = None

    def add(self, job: str, row: TaskResult, outputs: bytes, more: bool) -> None:
        """A result that the journal has taken; `more` says whether another one is about to follow."""
        number = self._journal.number
        kept: bytes | None = outputs
        if self._bytes + len(outputs) > IN_MEMORY:
            kept = None
        else:
            self._bytes += len(outputs)
        self._waiting.append((number, job, row, kept))
        self._stir(more)

    def begun(self, job: str, step: int, at: float) -> None:
        """A step that takes its time is running."""
        self._begun.setdefault(job, []).append((step, at))
        self._stir(False)

    def rest(self, job: str, first: int, last: int, letter: str, reason: str) -> None:
        """Tasks that will never run here."""
        rests = self._rests.setdefault(job, [])
        if (first, last, letter, reason) not in rests:
            rests.append((first, last, letter, reason))
        self._stir(False)

    def acknowledged(self, number: int) -> None:
        """The server has stored message `number` and all before it."""
        full = self._full  # only then did something wait for this; else batches stay large
        last = 0
        for stored in [sent for sent in self._sent if sent <= number] if number in self._sent else ():
            results, size = self._sent.pop(stored)
            last = max(last, results)
            self._flying -= size
        if last:
            self._journal.stored(last)
        if full and (self._waiting or self._begun or self._rests):
            self._stir(False)

    def reopen(self) -> None:
        """A new connection was welcomed: everything that is not known to be stored goes again."""
        self.open = True
        self._sent.clear()
        self._bytes = self._flying = 0
        self._waiting = [(number, job, row, None) for number, job, row in self._journal.waiting()]
        self.flush()

    def shut(self) -> None:
        """The connection is gone."""
        self.open = False

    @property
    def empty(self) -> bool:
        """Whether the server has stored everything."""
        return not (self._waiting or self._sent or self._rests)

    @property
    def _full(self) -> bool:
        return len(self._sent) >= IN_FLIGHT or self._flying >= FLIGHT_BYTES

    def _stir(self, more: bool) -> None:
        if not self.open:
            return
        if not more or len(self._waiting) >= BATCH_ROWS or time.monotonic() - self.last > BATCH_SECONDS:
            self.flush()
        elif self._timer is None:
            self._timer = get_hub().loop.timer(BATCH_SECONDS)
            self._timer.start(self._late)

    def _late(self) -> None:
        self._timer = None
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the connection takes it."""
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        while self.open and (self._waiting or self._begun or self._rests) and not self._full:
            batch, payload = self._batch()
            if not self._send_batch(batch, payload):
                return
            self._bytes -= sum(len(entry[3]) for entry in batch if entry[3] is not None)
            del self._waiting[: len(batch)]
            self._begun.clear()
            if not self._waiting:
                self._rests.clear()
            self.last = time.monotonic()

    def _send_batch(self, batch: list[Entry], payload: list[bytes]) -> bool:
        self._number += 1
        last = len(batch) == len(self._waiting)
        jobs = list(self._rows(batch, self._rests if last else {}))
        header = messages.encode("results", number=self._number, journal_position=self._journal.mark, jobs=jobs)
        if not self._send(header, b"".join(payload)):
            self.open = False
            return False
        size = sum(map(len, payload))
        self._sent[self._number] = (batch[-1][0] if batch else 0, size)
        self._flying += size
        return True

    def _batch(self) -> tuple[list[Entry], list[bytes]]:
        batch: list[Entry] = []
        payload: list[bytes] = []
        size = head = 0
        for entry in self._waiting[:BATCH_ROWS]:
            outputs = entry[3]
            if outputs is None:
                number, job, row, _ = entry
                outputs = self._journal.outputs(job, row.step)
                entry = number, job, _with_sizes(row, outputs), None
            size += len(outputs)
            head += _head_size(entry[2])
            if batch and (size > BATCH_BYTES or head > HEAD_BYTES):
                break
            batch.append(entry)
            payload.append(outputs)
        return batch, payload

    def _rows(self, batch: list[Entry], rests: dict[str, list[tuple[int, int, str, str]]]) -> Iterator[list[Any]]:
        """`[job, rows, begun, rests]` for each run of rows of one job, in the order of the payload."""
        begun = dict(self._begun)
        runs: list[tuple[str, list[Any]]] = []
        for _, job, row, _ in batch:
            if not runs or runs[-1][0] != job:
                runs.append((job, []))
            runs[-1][1].append(row)
        for job, rows in runs:
            yield [job, rows, begun.pop(job, []), []]
        for job in dict.fromkeys((*begun, *rests)):
            yield [job, [], begun.get(job, []), rests.get(job, [])]


def _with_sizes(row: TaskResult, outputs: bytes) -> TaskResult:
    """The result with the sizes of the outputs that are really there: the journal may have lost them."""
    if row.output_size == len(outputs):
        return row
    return row._replace(stdout_size=len(outputs), stderr_size=0)


def _head_size(row: TaskResult) -> int:
    """About how many bytes a row takes in the header, rather too many."""
    return 200 + 6 * len(row.reason or "") + (len(ujson.dumps(row.effects)) if row.effects else 0)

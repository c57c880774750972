"""The server's side of the ledger process: ordered writes, kept until they are durable, and queries."""

from __future__ import annotations

import contextlib
import itertools
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ujson
from gevent import get_hub
from gevent.event import Event
from gevent.queue import Queue

from director import errors
from director.protocol.framing import BODY_LIMIT, WORKER_HEADER_LIMIT, Cut
from director.runtime.greenlets import Pace
from director.workers.supervisor import Supervisor, WorkerDiedError

log = logging.getLogger(__name__)

FRAME_BYTES = 8 * 1024 * 1024
CONGESTED_BYTES = 64 * 1024 * 1024  # of writes that are not durable; with more there is no room
CONGESTED_OPS = 50_000
HEADS = WORKER_HEADER_LIMIT - 4096  # bytes of the writes in a frame's header
LAZY = 0.025  # seconds that a lazy write waits
TAKEN_BYTES = 1024 * 1024  # of an answer after which the ledger learns how much was taken
LOOK = 0.1  # seconds between two looks whether the disk takes nothing
PATIENCE = 10.0  # seconds that a query waits for the process to start again
TRIES = 3  # of a query whose process dies; then the caller gets the error

Op = tuple[Any, ...]  # (name, fields) or (name, fields, bytes) or (name, fields, [bytes, …])
Then = Callable[[str | None], None]


@dataclass(slots=True)
class _Write:
    """Operations that become durable together.

    Attributes:
        text: their JSON in a frame's header, of `head` bytes.
        blobs: their part of the frame's body, of `body` bytes.
        then: called with None, or with the error, when they are durable.
    """

    number: int
    text: str
    blobs: list[bytes]
    then: Then | None
    head: int
    body: int

    @property
    def weight(self) -> int:
        """Bytes of memory."""
        return self.head + self.body


class LedgerClient:
    """Numbers writes, and sends each again to a new ledger process until one has made it durable.

    Args:
        hello: settings of the process.
        fatal: gets the reason when the process never gets ready.

    Attributes:
        ready: set while the process runs.
        stuck: why the disk takes nothing, "" when it does.
        lost: what the ledger had lost when this server started, "" for nothing.
    """

    def __init__(self, hello: dict[str, Any], fatal: Callable[[str], None]) -> None:
        self.stuck = self.lost = ""
        self._hello = hello
        self._numbers, self._stamps, self._run = itertools.count(1), itertools.count(1), secrets.token_hex(8)
        self._pending: deque[_Write] = deque()
        self._unsent: deque[_Write] = deque()
        self._refused: dict[int, str] = {}
        self._bytes = 0
        self._room = Event()
        self._room.set()
        self._flushing = False
        self._timer: Any = None
        self._in_flight: deque[int] = deque()  # the last write of each frame that is not durable
        self.child = Supervisor(
            "ledger", "director.workers.ledger", hello,
            on_ready=self._on_ready, on_frame=self._on_frame, fatal=fatal,
        )  # fmt: skip
        self.ready = self.child.running

    @property
    def waiting(self) -> tuple[int, int]:
        """The writes that are not durable yet, and their bytes."""
        return len(self._pending), self._bytes

    # -- writing ------------------------------------------------------------------------------------------

    def write(self, *ops: Op, then: Then | None = None, refusable: bool = False, lazy: bool = False) -> None:
        """Make operations durable together, after all earlier writes. A write that fits in no frame is refused.

        Args:
            then: called with None when they are durable, or with the error.
            refusable: refuse them when the disk is full, instead of waiting for room.
            lazy: send them with the next write that is not lazy, or after `LAZY` seconds, so that the results of a
                busy fleet share one flush of the disk.
        """
        number = next(self._numbers)
        entry = _encode(number, [self._stamped(op) if op[0] == "audit" else op for op in ops], then, refusable)
        if entry.head > HEADS or entry.body > BODY_LIMIT:
            log.error("a write of %d MiB is refused: %s", entry.weight >> 20, ", ".join({op[0] for op in ops}))
            self._refused[number] = f"it is too large to be kept at once: {entry.weight >> 20} MiB"
            entry = _encode(number, (), then, refusable)
        self._pending.append(entry)
        self._unsent.append(entry)
        self._bytes += entry.weight
        if self._bytes > CONGESTED_BYTES or len(self._pending) > CONGESTED_OPS:
            self._room.clear()
        if lazy and self._timer is None:
            self._timer = get_hub().loop.timer(LAZY)
            self._timer.start(self._flush)
        elif not lazy and not self._flushing:  # at the end of this turn of the loop: one frame, one commit
            self._flushing = True
            get_hub().loop.run_callback(self._flush)

    def commit(self, *ops: Op, refusable: bool = False) -> None:
        """Write, and block until it is durable. Raises StoreError: it was refused."""
        done: Queue[str | None] = Queue()
        self.write(*ops, then=done.put, refusable=refusable)
        error = done.get()
        if error:
            raise errors.StoreError(error)

    def commit_if_possible(self) -> None:
        """Block until all earlier writes are durable, or the disk takes nothing."""
        done = Event()
        self.write(then=lambda error: done.set())
        while not done.wait(LOOK) and not self.stuck:
            pass

    def wait_for_room(self, seconds: float) -> bool:
        """Block for at most so many seconds while too much waits for the disk; whether there is room now."""
        return self._room.is_set() or (seconds > 0 and self._room.wait(seconds))

    def _stamped(self, op: Op) -> Op:
        """A line of the audit log with its place in this run, by which the store knows it when it comes again."""
        return op[0], {**op[1], "run": self._run, "stamp": next(self._stamps)}

    def _flush(self) -> None:
        """Send the waiting writes in large frames, at most two of which are in flight."""
        self._flushing = False
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        if not self.child.ready:
            return
        while self._unsent and len(self._in_flight) < 2:
            self._send(self._take_frame())

    def _take_frame(self) -> list[_Write]:
        """The next writes that fit in one frame; at least one."""
        frame: list[_Write] = []
        head = body = 0
        while self._unsent and head + body < FRAME_BYTES:
            entry = self._unsent[0]
            if frame and (head + entry.head > HEADS or body + entry.body > BODY_LIMIT):
                break
            frame.append(self._unsent.popleft())
            head, body = head + entry.head, body + entry.body
        return frame

    def _send(self, frame: list[_Write]) -> None:
        self._in_flight.append(frame[-1].number)
        header = f'{{"writes":[{",".join(entry.text for entry in frame)}]}}'
        self.child.send(header, b"".join(blob for entry in frame for blob in entry.blobs))

    # -- asking -------------------------------------------------------------------------------------------

    def ask(self, name: str, **args: Any) -> bytes:
        """The whole answer of a query, which is repeated when the process dies.

        Raises:
            BusyError: the process could not be started again in time. DirectorError: what the ledger raised.
        """
        for _ in range(TRIES):
            with contextlib.suppress(WorkerDiedError):
                return b"".join(self.stream(name, **args))
        return b"".join(self.stream(name, **args))

    def stream(self, name: str, **args: Any) -> Iterator[bytes]:
        """The parts of a query's answer; the ledger sends more as parts are taken, so that few wait here.

        Raises:
            BusyError: the process could not be started again in time. WorkerDiedError: it ended during the query.
            DirectorError: what the ledger raised.
        """
        if not self.ready.wait(PATIENCE):
            raise errors.BusyError(f"the ledger process is away for more than {PATIENCE:g} s; try again later")
        taken = 0
        with self.child.request({"query": name, "args": args}) as answer:
            while True:
                header, body = answer.next()
                if answer.ended:
                    return
                yield Cut(body) if header.get("cut") else body
                taken += len(body)
                if taken >= TAKEN_BYTES:
                    self.child.send({"taken": answer.number, "size": taken})
                    taken = 0

    # -- the process --------------------------------------------------------------------------------------

    def _on_ready(self, child: Supervisor) -> None:
        self._hello["again"] = True  # the next process ends the server when its ledger has lost records
        self._in_flight.clear()
        self._unsent = deque(self._pending)
        self._flush()

    def _on_frame(self, child: Supervisor, header: dict[str, Any], body: bytes) -> None:
        if "done" in header:
            self._done(header["done"])
        elif "refused" in header:
            self._refused[header["refused"]] = header["error"]
        else:
            self.stuck = header.get("stuck", "")

    def _done(self, upto: int) -> None:
        while self._in_flight and self._in_flight[0] <= upto:
            self._in_flight.popleft()
        pace = Pace()
        while self._pending and self._pending[0].number <= upto:
            pace.pause()
            entry = self._pending.popleft()
            self._bytes -= entry.weight
            error = self._refused.pop(entry.number, None)
            if entry.then is not None:
                try:
                    entry.then(error)
                except Exception:
                    log.exception("the callback of write %d failed", entry.number)
        if self._bytes < CONGESTED_BYTES // 2 and len(self._pending) < CONGESTED_OPS // 2:
            self._room.set()
        self._flush()

    def stop(self) -> None:
        """Wait until all writes are durable, 5 s at most for the disk to take one, then end the process."""
        done = Event()
        while self._pending and not self.stuck:
            done.clear()
            self.write(then=lambda error: done.set())
            if not done.wait(5):
                break
        self.child.stop()


def _encode(number: int, ops: Sequence[Op], then: Then | None, refusable: bool) -> _Write:
    """A write as it is sent; later changes to the objects in it have no effect."""
    blobs: list[bytes] = []
    rows = []
    for op in ops:
        blob = op[2] if len(op) > 2 else b""
        parts = blob if isinstance(blob, list) else [blob]
        blobs += parts
        rows.append((op[0], op[1], [len(part) for part in parts] if isinstance(blob, list) else len(blob)))
    text = ujson.dumps((number, refusable, rows))
    return _Write(number, text, blobs, then, len(text) + 1, sum(map(len, blobs)))

"""The hub's side of the ledger: ordered writes that are kept until they are durable, and queries."""

from __future__ import annotations

import contextlib
import itertools
import logging
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
from director.workers.supervisor import Supervisor

log = logging.getLogger(__name__)

FRAME_OPS = 2000
FRAME_BYTES = 8 * 1024 * 1024
CONGESTED_BYTES = 64 * 1024 * 1024
CONGESTED_OPS = 50_000
HEADS = WORKER_HEADER_LIMIT - 4096  # bytes of the writes in a frame's header
LAZY = 0.025
TOLD_BYTES = 1024 * 1024  # of an answer that were passed on until the ledger is told
PATIENCE = 10.0  # seconds that a query waits for the process to be started again
DEATHS = 3  # of the process over one query, then the caller hears of it

Op = tuple[Any, ...]  # (name, fields) or (name, fields, bytes) or (name, fields, [bytes, …])
Then = Callable[[str | None], None]


@dataclass(slots=True)
class _Write:
    """Operations that become durable together.

    Attributes:
        text: their JSON, as it stands in a frame's header; `head` are its bytes.
        blobs: what goes in the frame's body, of `body` bytes.
        count: of the operations.
    """

    number: int
    text: str
    blobs: list[bytes]
    then: Then | None
    count: int
    head: int
    body: int

    @property
    def weight(self) -> int:
        """What it takes of the memory."""
        return self.head + self.body


class LedgerDiedError(errors.DirectorError):
    """The ledger process ended before its whole answer was there."""


class LedgerClient:
    """Writes are numbered; each is sent again to a new process until it said that it is on disk."""

    def __init__(self, hello: dict[str, Any], fatal: Callable[[str], None]) -> None:
        self.ready = Event()
        self.stuck = ""  # why the disk takes nothing, "" when it does
        self.lost = ""  # what the ledger had lost when this server started
        self._hello = hello
        self._numbers = itertools.count(1)
        self._pending: deque[_Write] = deque()
        self._unsent: deque[_Write] = deque()
        self._refused: dict[int, str] = {}
        self._bytes = 0
        self._room = Event()
        self._room.set()
        self._flushing = False
        self._timer: Any = None
        self._answers: dict[int, Queue[Any]] = {}
        self._flights: deque[int] = deque()  # the last write of each frame on its way
        self.child = Supervisor(
            "ledger", "director.workers.ledger", hello,
            on_ready=self._on_ready, on_frame=self._on_frame, on_death=self._on_death, fatal=fatal,
        )  # fmt: skip

    # -- writing ------------------------------------------------------------------------------------------

    def write(self, *ops: Op, then: Then | None = None, refusable: bool = False, lazy: bool = False) -> None:
        """Make `ops` durable together, after all writes before; then call `then(error or None)`.

        A `lazy` write is one that nobody waits for: it goes with the next that is not, or after `LAZY` seconds,
        so that the results of a busy fleet share one flush of the disk. What is larger than any frame is refused.
        """
        number = next(self._numbers)
        entry = _encode(number, ops, then, refusable)
        if entry.head > HEADS or entry.body > BODY_LIMIT:
            log.error(
                "a write of %d MiB is refused: %s", (entry.head + entry.body) >> 20, ", ".join({op[0] for op in ops})
            )
            self._refused[number] = f"it is too large to be kept at once: {(entry.head + entry.body) >> 20} MiB"
            entry = _encode(number, (), then, refusable)
        self._pending.append(entry)
        self._unsent.append(entry)
        self._bytes += entry.weight
        if self._bytes > CONGESTED_BYTES or len(self._pending) > CONGESTED_OPS:
            self._room.clear()
        if not lazy:
            self._flush_soon()
        elif self._timer is None:
            self._timer = get_hub().loop.timer(LAZY)
            self._timer.start(self._flush)

    def _flush_soon(self) -> None:
        """At the end of this turn, so that all it writes goes in one frame and one commit."""
        if not self._flushing:
            self._flushing = True
            get_hub().loop.run_callback(self._flush)

    def commit(self, *ops: Op, refusable: bool = False) -> None:
        """The same, and wait for it; raises StoreError when it was refused."""
        done: Queue[str | None] = Queue()
        self.write(*ops, then=done.put, refusable=refusable)
        error = done.get()
        if error:
            raise errors.StoreError(error)

    def wait_for_room(self, seconds: float) -> bool:
        """Block while too much waits for the disk, `seconds` at most; whether there is room now."""
        return self._room.is_set() or (seconds > 0 and self._room.wait(seconds))

    @property
    def waiting(self) -> int:
        """Writes that are not durable yet."""
        return len(self._pending)

    def _flush(self) -> None:
        """Send what waits in large frames; a second frame goes only when the one before was taken."""
        self._flushing = False
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        if not self.child.ready:
            return
        while self._unsent and len(self._flights) < 2:
            self._send(self._take_frame())

    def _take_frame(self) -> list[_Write]:
        """The next writes that go together; at least one."""
        frame: list[_Write] = []
        count = head = body = 0
        while self._unsent and count < FRAME_OPS and head + body < FRAME_BYTES:
            entry = self._unsent[0]
            if frame and (head + entry.head > HEADS or body + entry.body > BODY_LIMIT):
                break
            frame.append(self._unsent.popleft())
            count, head, body = count + entry.count, head + entry.head, body + entry.body
        return frame

    def _send(self, frame: list[_Write]) -> None:
        self._flights.append(frame[-1].number)
        header = f'{{"writes":[{",".join(entry.text for entry in frame)}]}}'
        self.child.send(header, b"".join(blob for entry in frame for blob in entry.blobs))

    # -- asking -------------------------------------------------------------------------------------------

    def ask(self, name: str, **args: Any) -> bytes:
        """The whole answer of a query; raises what the ledger raised. Asked again when the process died over it."""
        for _ in range(DEATHS):
            with contextlib.suppress(LedgerDiedError):
                return b"".join(self.stream(name, **args))
        return b"".join(self.stream(name, **args))

    def stream(self, name: str, **args: Any) -> Iterator[bytes]:
        """The answer of a query, part by part; the ledger is told what was taken, so that little waits here.

        Raises:
            BusyError: the process could not be started again in time. DirectorError: what the ledger raised.
        """
        number, taken = next(self._numbers), 0
        if not self.ready.wait(PATIENCE):
            raise errors.BusyError(f"the ledger process is away for more than {PATIENCE:g} s; try again later")
        answers: Queue[Any] = Queue()
        self._answers[number] = answers
        self.child.send({"query": number, "name": name, "args": args})
        ended = False
        try:
            while True:
                header, body = answers.get()
                ended = not header.get("more")
                if header.get("died"):
                    raise LedgerDiedError(header["error"])
                if "error" in header:
                    raise errors.BY_EXIT_CODE.get(header["exit"], errors.DirectorError)(header["error"])
                if ended:
                    return
                yield Cut(body) if header.get("cut") else body
                taken += len(body)
                if taken >= TOLD_BYTES:
                    self.child.send({"taken": number, "size": taken})
                    taken = 0
        finally:
            self._answers.pop(number, None)
            if not ended:  # who asked does not want the rest
                self.child.send({"left": number})

    # -- the process --------------------------------------------------------------------------------------

    def _on_ready(self, child: Supervisor) -> None:
        self._hello["again"] = True  # a ledger that has lost something while we live is not what we remember
        self._flights.clear()
        self._unsent = deque(self._pending)
        self.ready.set()
        self._flush()

    def _on_frame(self, child: Supervisor, header: dict[str, Any], body: bytes) -> None:
        if "done" in header:
            self._done(header["done"])
        elif "query" in header:
            answers = self._answers.get(header["query"])
            if answers is not None:
                answers.put((header, body))
        elif "refused" in header:
            self._refused[header["refused"]] = header["error"]
        else:
            self.stuck = header.get("stuck", "")

    def _done(self, upto: int) -> None:
        while self._flights and self._flights[0] <= upto:
            self._flights.popleft()
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
                    log.exception("what follows write %d failed", entry.number)
        if self._bytes < CONGESTED_BYTES // 2 and len(self._pending) < CONGESTED_OPS // 2:
            self._room.set()
        self._flush()

    def _on_death(self, child: Supervisor) -> None:
        self.ready.clear()
        for answers in list(self._answers.values()):
            answers.put(({"died": True, "error": "the ledger process ended; ask again"}, b""))

    def stop(self) -> None:
        """Wait for what was written, then end the process."""
        while self._pending and not self.stuck:
            self._flush()
            done = Event()
            self._pending[-1].then = _chain(self._pending[-1].then, done)
            if not done.wait(5):
                break
        self.child.stop()


def _chain(then: Then | None, done: Event) -> Then:
    def both(error: str | None) -> None:
        if then:
            then(error)
        done.set()

    return both


def _encode(number: int, ops: Sequence[Op], then: Then | None, refusable: bool) -> _Write:
    """A write as it travels; whatever becomes of the objects in it later changes nothing."""
    blobs: list[bytes] = []
    rows = []
    for op in ops:
        blob = op[2] if len(op) > 2 else b""
        parts = blob if isinstance(blob, list) else [blob]
        blobs += parts
        rows.append((op[0], op[1], [len(part) for part in parts] if isinstance(blob, list) else len(blob)))
    text = ujson.dumps((number, refusable, rows))
    return _Write(number, text, blobs, then, len(ops), len(text) + 1, sum(map(len, blobs)))

"""The ledger process: a writer thread that groups commits, and threads that answer queries.

Frames in: `{"writes": [[seq, refusable, [[name, fields, lengths], …]], …]}` with the bodies of the operations one
after another, and requests (see `supervisor`): `{"query": name, "args": {…}, "req"}`. For a long answer the parent
reports how many bytes it passed on, `{"taken": req, "size": n}`. Frames out: `{"done": seq}` once everything up to seq
is durable, `{"refused": seq, "error": …}`, `{"stuck": reason}` while nothing can be written (`{"stuck": ""}` after),
and `{"req", "more", "cut"}` with parts of an answer as bodies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import ujson

from director.errors import BusyError, DirectorError, StoreError
from director.protocol.framing import Channel, Cut
from director.protocol.messages import PAYLOAD_LIMIT
from director.runtime.logs import Seldom
from director.stores import open_store
from director.stores.contract import BadOperationError, Store
from director.transfer.blobs import BlobStore
from director.workers import audit_sender
from director.workers.audit_keeper import AuditKeeper
from director.workers.housekeeping import Housekeeper
from director.workers.streams import Streams
from director.workers.worker import connect, dumps, refusal, serve, serving

log = logging.getLogger(__name__)
seldom = Seldom(log)

GROUP_SIZE = 4000  # operations and results in one transaction
RETRY = 1.0  # seconds
AUDIT = {"size": 64 << 20, "count": 16, "to": None, "ca": None}
OUTLINES = 16_384  # steps
OUTLINE = ("i", "stage", "lane", "group", "inherit")
QUERIES = (
    "list_jobs", "job_info", "resolve", "export_jobs", "chunk", "lost", "settle", "open_jobs", "find",
    "tokens", "revoked_keys", "final_jobs", "prunable", "resume_record", "reach", "reached",
    "sealed", "outputs", "outputs_of", "node_tasks",
)  # fmt: skip
LONG = frozenset(("job_info", "export_jobs", "outputs", "check_audit"))  # of any size, or slow to make
Write = tuple[int, bool, list[tuple[Any, ...]]]
Send = Callable[..., None]


class Writer:
    """Applies writes in their order; `run` is the writer thread.

    Args:
        purged: called after jobs were deleted.
        audit: takes the lines of the audit log out of the store; while it cannot, what would need one is refused.
    """

    def __init__(self, store: Store, send: Send, purged: Callable[[], None], audit: AuditKeeper) -> None:
        self._store, self._audit = store, audit
        self._send = send
        self._purged = purged
        self._ended = False
        self.writes: queue.Queue[Write | None] = queue.Queue()  # None ends the thread

    def run(self) -> None:
        """Make the writes that wait durable in one transaction and report them, again and again."""
        while not self._ended:
            group = self._take()
            if group:
                self._apply([write for write in group if not self._is_refused(*write)])
                self._send({"done": group[-1][0]})
            names = {op[0] for _, _, ops in group for op in ops}
            if "audit" in names:
                self._audit.wake()
            if names & {"purge_jobs", "prune"}:
                self._purged()

    def _take(self) -> list[Write]:
        group: list[Write] = []
        size = 0
        while size < GROUP_SIZE:
            try:
                write = self.writes.get(block=not group)
            except queue.Empty:
                break
            if write is None:
                self._ended = True
                break
            group.append(write)
            size += sum(len(op[1].get("results", ())) + 1 for op in write[2])
        return group

    def _is_refused(self, seq: int, refusable: bool, ops: list[tuple[Any, ...]]) -> bool:
        """Whether the write is refused, as its line cannot come into the files of the audit log."""
        if not (self._audit.trouble and refusable and any(op[0] == "audit" for op in ops)):
            return False
        self._send({"refused": seq, "error": f"{self._audit.trouble}; nothing was done"})
        return True

    def _apply(self, group: list[Write]) -> None:
        try:
            self._store.apply([op for write in group for op in write[2]])
        except StoreError:
            for write in group:
                self._apply_alone(*write)

    def _apply_alone(self, seq: int, refusable: bool, ops: list[tuple[Any, ...]]) -> None:
        """Refuse the write if it may be refused or is malformed; retry any other until there is space."""
        stuck = ""
        while True:
            try:
                self._store.apply(ops)
                break
            except StoreError as error:
                if isinstance(error, BadOperationError):
                    log.error("a malformed write is dropped: %s", error)
                if refusable or isinstance(error, BadOperationError):
                    self._send({"refused": seq, "error": str(error)})
                    break
                if str(error) != stuck:
                    stuck = str(error)
                    log.error("the ledger cannot be written: %s; trying again every %g s", stuck, RETRY)
                    self._send({"stuck": stuck})
                time.sleep(RETRY)
        if stuck:
            log.warning("the ledger can be written again")
            self._send({"stuck": ""})


class Seeds:
    """What the good steps of a resumed job set on a node, to continue there."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._outlines: dict[tuple[str, int], str] = {}

    def seed(self, job: str, node: str) -> bytes:
        """A JSON list of the node's steps that ended well and had effects: `{"i", "stage", …, "effects"}`.

        It is empty bytes when a message to a node cannot carry it.
        """
        found = self._store.effects(job, node)
        pieces = [f'{self._outline(job, step)[:-1]},"effects":{effects}}}' for step, effects in found]
        seed = f"[{','.join(pieces)}]".encode()
        return seed if len(seed) <= PAYLOAD_LIMIT else b""

    def _outline(self, job: str, number: int) -> str:
        """A step as JSON with the fields `OUTLINE`; cached, as it is the same for many nodes."""
        if (job, number) not in self._outlines:
            if len(self._outlines) > OUTLINES:
                self._outlines.clear()
            for step in ujson.loads(self._store.chunk(job, number)):
                kept = {key: step[key] for key in OUTLINE if key in step}
                self._outlines[job, step["i"]] = dumps(kept).decode()
        return self._outlines[job, number]


class Reader:
    """Answers queries; `run` is the reader thread, long answers have threads of their own."""

    def __init__(self, store: Store, send: Send, audit: AuditKeeper) -> None:
        self._handlers: dict[str, Callable[..., Any]] = {name: getattr(store, name) for name in QUERIES}
        self._handlers |= {"seed": Seeds(store).seed, "nodes": lambda: iter(store.nodes())}  # a node a part
        self._handlers["check_audit"] = lambda: iter([dumps(audit.check())])
        self._send = send
        self._queries: queue.Queue[dict[str, Any]] = queue.Queue()
        self.streams = Streams()

    def put(self, request: dict[str, Any]) -> None:
        """Have a query answered."""
        if request["query"] not in LONG:
            self._queries.put(request)
            return
        try:
            self.streams.begin(request["req"], partial(self._answer, request))
        except BusyError as error:
            self._send(refusal(request["req"], error))

    def run(self) -> None:
        """Answer all short queries in turn."""
        while True:
            self._answer(self._queries.get())

    def _answer(self, request: dict[str, Any]) -> None:
        number = request["req"]
        try:
            for part in self._parts(request):
                self._send({"req": number, "more": True, "cut": isinstance(part, Cut)}, part)
            self._send({"req": number})
        except DirectorError as error:
            self._send(refusal(number, error))
        except Exception as error:
            seldom.exception(f"query {request['query']!a} failed")
            self._send(refusal(number, DirectorError(f"the ledger could not answer: {error}")))

    def _parts(self, request: dict[str, Any]) -> Iterable[bytes]:
        """The answer: bytes and text as they are, all else as JSON, one part for each item of an iterator."""
        name = request["query"]
        if name not in self._handlers:
            raise DirectorError(f"no such query: {name}")
        answer = self._handlers[name](**request["args"])
        if name in LONG:
            return self.streams.paced(request["req"], answer)
        return map(_encoded, answer if isinstance(answer, Iterator) else [answer])


def _encoded(part: Any) -> bytes:
    if isinstance(part, str):
        return part.encode()
    return part if isinstance(part, bytes) else dumps(part)


class Ledger:
    """Hands the parent's frames to the writer and the reader."""

    def __init__(self, store: Store, channel: Channel, housekeeper: Housekeeper, audit: AuditKeeper) -> None:
        self._channel = channel
        self._sending = threading.Lock()
        self.writer = Writer(store, self._send, housekeeper.wake, audit)
        self.reader = Reader(store, self._send, audit)

    def _send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """One frame from any thread; a parent that is gone is ignored."""
        with self._sending, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._channel.send(header, body)

    def handle(self, header: dict[str, Any], body: bytes, fds: list[int]) -> None:
        """One frame of the parent."""
        if "writes" in header:
            for write in unpack(header, body):
                self.writer.writes.put(write)
        elif "taken" in header:
            self.reader.streams.taken(header["taken"], header["size"])
        elif "drop" in header:
            self.reader.streams.left(header["drop"])
        else:
            self.reader.put(header)


def unpack(header: dict[str, Any], body: bytes) -> Iterator[Write]:
    """The writes of a frame, with the bodies of their operations."""
    view, start = memoryview(body), 0
    for seq, refusable, ops in header["writes"]:
        done: list[tuple[Any, ...]] = []
        for name, fields, lengths in ops:
            parts = []
            for length in lengths if isinstance(lengths, list) else [lengths]:
                parts.append(bytes(view[start : start + length]))
                start += length
            part: Any = parts if isinstance(lengths, list) else parts[0]
            done.append((name, fields, part) if part else (name, fields))
        yield seq, refusable, done


def main() -> None:
    """Serve the parent until it closes the channel; what was received by then is still written.

    Raises:
        SystemExit: the store cannot be used (as `serving` says), or the parent is gone.
    """
    channel, settings = connect()
    with serving(channel):
        store = open_store(settings["store"], settings["folder"])
        if settings.get("again") and store.lost():
            raise StoreError(f"{store.lost()}; the next start of the server says what became of open jobs")
        housekeeper = Housekeeper(store, BlobStore(os.path.join(settings["folder"], "blobs")))
        kept = {**AUDIT, **settings.get("audit", {})}
        audit = AuditKeeper(store, settings["folder"], kept["size"], kept["count"])
        audit.step()
        ledger = Ledger(store, channel, housekeeper, audit)
        writer = threading.Thread(target=ledger.writer.run, name="writer", daemon=True)
        writer.start()
        threading.Thread(target=ledger.reader.run, name="reader", daemon=True).start()
        threading.Thread(target=housekeeper.run, name="housekeeper", daemon=True).start()
        threading.Thread(target=audit.run, name="audit", daemon=True).start()
        if kept["to"]:
            audit_sender.start(audit, kept["to"], kept["ca"])
        try:
            with contextlib.suppress(ConnectionResetError):
                serve(channel, ledger.handle)
        finally:
            ledger.writer.writes.put(None)
            writer.join()
            audit.step()


if __name__ == "__main__":
    main()

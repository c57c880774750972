"""The keeper of the ledger: one process with a writer that groups commits and a reader that answers.

Frames in: `{"writes": [[seq, refusable, [[name, fields, lengths], …]], …]}` with the blobs in the body, and
`{"query": id, "name": …, "args": {…}}`. Frames out: `{"done": seq}` once everything up to seq is durable,
`{"refused": seq, "error": …}`, `{"stuck": text}` while the disk takes nothing (and `{"stuck": ""}` after),
and `{"query": id, "more": bool}` with the answer's bytes or `{"query": id, "error": …, "exit": n}`. Of long answers the
hub says how much it has passed on, `{"taken": id, "size": n}`, and when nobody wants the rest, `{"left": id}`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import ujson

from director.errors import BusyError, DirectorError, StoreError
from director.protocol.framing import Channel, Cut
from director.protocol.messages import STEPS_PER_CHUNK
from director.stores import open_store
from director.stores.contract import BadOperationError, Store
from director.transfer.blobs import BlobStore
from director.workers.housekeeping import Housekeeper
from director.workers.streams import Streams
from director.workers.worker import connect, dumps, serving

log = logging.getLogger(__name__)

GROUP_ROWS = 4000
RETRY = 1.0
OUTLINES = 64
OUTLINE = ("i", "stage", "lane", "group", "inherit")
Write = tuple[int, bool, list[tuple[Any, ...]]]


class Keeper:
    """Applies writes in the order they came and answers queries beside them."""

    def __init__(self, store: Store, channel: Channel) -> None:
        self.store = store
        self.channel = channel
        self.sending = threading.Lock()
        self.writes: queue.Queue[Write | None] = queue.Queue()
        self.queries: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.streams = Streams()
        self.housekeeper: Housekeeper | None = None
        self.outlines: dict[tuple[str, int], list[str]] = {}

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """One frame to the hub, from either thread; when it is gone nobody needs to hear."""
        with self.sending, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.channel.send(header, body)

    def take_all(self) -> None:
        """Share the hub's frames out to the threads until it is gone."""
        with contextlib.suppress(ConnectionResetError):
            while (frame := self.channel.receive()) is not None:
                header, body, _ = frame
                if "writes" in header:
                    for write in unpack(header, body):
                        self.writes.put(write)
                elif "taken" in header:
                    self.streams.taken(header["taken"], header["size"])
                elif "left" in header:
                    self.streams.left(header["left"])
                elif header["name"] in LONG:
                    self._begin_long(header)
                else:
                    self.queries.put(header)

    # -- the writer ---------------------------------------------------------------------------------------

    def write_loop(self) -> None:
        """Until None comes: take all that waits, make it durable in one transaction, say so."""
        while True:
            first = self.writes.get()
            if first is None:
                return
            group, end = self._group(first)
            self._apply(group)
            self.send({"done": group[-1][0]})
            if self.housekeeper and any(op[0] in ("purge_jobs", "prune") for write in group for op in write[2]):
                self.housekeeper.stir()
            if end:
                return

    def _group(self, first: Write) -> tuple[list[Write], bool]:
        group, rows = [first], _rows(first)
        while rows < GROUP_ROWS:
            try:
                write = self.writes.get_nowait()
            except queue.Empty:
                break
            if write is None:
                return group, True
            group.append(write)
            rows += _rows(write)
        return group, False

    def _apply(self, group: list[Write]) -> None:
        try:
            self.store.apply([op for write in group for op in write[2]])
        except StoreError:
            for write in group:
                self._apply_alone(write)

    def _apply_alone(self, write: Write) -> None:
        """What may be refused is refused; everything else waits for room, as it must not be lost."""
        seq, refusable, ops = write
        stuck = ""
        while True:
            try:
                self.store.apply(ops)
                break
            except BadOperationError as error:
                log.error("a write that cannot be understood is dropped: %s", error)
                if refusable:
                    self.send({"refused": seq, "error": str(error)})
                break
            except StoreError as error:
                if refusable:
                    self.send({"refused": seq, "error": str(error)})
                    break
                if str(error) != stuck:
                    stuck = str(error)
                    log.error("the ledger takes nothing: %s; trying again every %g s", stuck, RETRY)
                    self.send({"stuck": stuck})
                time.sleep(RETRY)
        if stuck:
            log.warning("the ledger takes writes again")
            self.send({"stuck": ""})

    # -- the reader ---------------------------------------------------------------------------------------

    def query_loop(self) -> None:
        """Answer queries until None comes."""
        while (request := self.queries.get()) is not None:
            self._answer_all(request, self._answer(request["name"], request["args"]))

    def _begin_long(self, request: dict[str, Any]) -> None:
        try:
            self.streams.begin(request["query"], partial(self._answer_long, request))
        except BusyError as error:
            self.send({"query": request["query"], "error": str(error), "exit": error.exit_code})

    def _answer_long(self, request: dict[str, Any]) -> None:
        parts = self._answer(request["name"], request["args"])
        self._answer_all(request, self.streams.paced(request["query"], parts))

    def _answer_all(self, request: dict[str, Any], parts: Iterator[bytes]) -> None:
        number = request["query"]
        try:
            for part in parts:
                self.send({"query": number, "more": True, "cut": isinstance(part, Cut)}, part)
            self.send({"query": number, "more": False})
        except DirectorError as error:
            self.send({"query": number, "error": str(error), "exit": error.exit_code})
        except Exception as error:
            log.exception("query %s failed", request["name"])
            self.send({"query": number, "error": f"the ledger could not answer: {error}", "exit": 1})

    def _answer(self, name: str, args: dict[str, Any]) -> Iterator[bytes]:
        handler = getattr(self, f"ask_{name}", None) if name in QUERIES else None
        if handler is None:
            raise DirectorError(f"no such query: {name}")
        answer = handler(**args)
        if isinstance(answer, bytes):
            yield answer
        else:
            yield from answer

    def ask_list_jobs(self, filters: dict[str, Any], live: dict[str, Any]) -> bytes:
        """The contract's list of jobs."""
        return self.store.list_jobs(filters, live)

    def ask_job_info(self, id: str, live: dict[str, Any]) -> Iterator[bytes]:
        """One job with its steps and tasks."""
        return self.store.job_info_parts(id, live)

    def ask_resolve(self, id: str) -> bytes:
        """The whole id of a prefix or of `last`."""
        return self.store.resolve(id).encode()

    def ask_export_jobs(self, live: dict[str, Any]) -> Iterator[bytes]:
        """Every job, in JSON lists of whole jobs."""
        return self.store.export_jobs(live)

    def ask_chunk(self, job: str, n: int) -> bytes:
        """One chunk of a job's encoded steps."""
        return self.store.chunk(job, n)

    def ask_nodes(self) -> Iterator[bytes]:
        """Every node ever enrolled, one JSON object a part."""
        return (dumps(row) for row in self.store.nodes())

    def ask_lost(self) -> bytes:
        """What the store says it has lost."""
        return self.store.lost().encode()

    def ask_settle(self) -> bytes:
        """What follows from the loss is on disk."""
        self.store.settle()
        return b""

    def ask_open_jobs(self) -> Iterator[bytes]:
        """Every job that is not final, one JSON object a part."""
        return (dumps({name: getattr(job, name) for name in job.__slots__}) for job in self.store.open_jobs())

    def ask_find(self, id: str) -> bytes:
        """State and digest of a job, or null."""
        return dumps(self.store.find(id))

    def ask_final_jobs(self, filters: dict[str, Any]) -> bytes:
        """Ids of the final jobs that match, for a purge."""
        return dumps(self.store.final_jobs(filters))

    def ask_prunable(self, before: float, keep: int, limit: int) -> bytes:
        """Ids of the jobs that have outlived the history."""
        return dumps(self.store.prunable(before, keep, limit))

    def ask_blobs(self) -> bytes:
        """Digests that any job needs."""
        return dumps(sorted(self.store.blobs()))

    def ask_resume_record(self, id: str) -> bytes:
        """What `--resume` needs; `succeeded` is `[[a text of 0 and 1 a step, [nodes]]]`."""
        record = self.store.resume_record(id)
        fields = {name: getattr(record, name) for name in record.__slots__ if name != "succeeded"}
        patterns: dict[bytes, list[str]] = {}
        for node, flags in record.succeeded.items():
            patterns.setdefault(bytes(flags), []).append(node)
        fields["succeeded"] = [(flags.translate(_DIGITS).decode(), nodes) for flags, nodes in patterns.items()]
        return dumps(fields)

    def ask_seed(self, job: str, node: str) -> bytes:
        """A JSON list of the node's steps that went well and had effects: `{"i", "stage", …, "effects"}`."""
        pieces = []
        for step, effects in self.store.effects(job, node):
            n, place = divmod(step, STEPS_PER_CHUNK)
            pieces.append(f'{self._outline(job, n)[place][:-1]},"effects":{effects}}}')
        return f"[{','.join(pieces)}]".encode()

    def _outline(self, job: str, n: int) -> list[str]:
        """The steps of a chunk as JSON, without what they do; the same for many nodes, so a few are kept."""
        found = self.outlines.get((job, n))
        if found is None:
            if len(self.outlines) > OUTLINES:
                self.outlines.clear()
            steps = ujson.loads(self.store.chunk(job, n))
            kept = [{key: step[key] for key in OUTLINE if key in step} for step in steps]
            found = self.outlines[job, n] = [dumps(step).decode() for step in kept]
        return found


_DIGITS = bytes([48, 49, *range(2, 256)])
LONG = frozenset(("job_info", "export_jobs"))  # answers that may be of any size
QUERIES = frozenset(name[4:] for name in vars(Keeper) if name.startswith("ask_"))


def _rows(write: Write) -> int:
    return sum(len(op[1].get("rows", ())) + 1 for op in write[2])


def unpack(header: dict[str, Any], body: bytes) -> Iterator[Write]:
    """The writes of a frame, with their blobs cut out of the body."""
    view, start = memoryview(body), 0
    for seq, refusable, ops in header["writes"]:
        done: list[tuple[Any, ...]] = []
        for name, fields, lengths in ops:
            blobs = []
            for length in lengths if isinstance(lengths, list) else [lengths]:
                blobs.append(bytes(view[start : start + length]))
                start += length
            blob: Any = blobs if isinstance(lengths, list) else blobs[0]
            done.append((name, fields, blob) if blob else (name, fields))
        yield seq, refusable, done


def main() -> None:
    """Serve the parent until it closes the channel; what was received by then is still written."""
    channel, settings = connect()
    with serving(channel):
        store = open_store(settings["store"], settings["folder"])
        if settings.get("again") and store.lost():
            raise StoreError(f"{store.lost()}; the next start of the server says what became of open jobs")
        keeper = Keeper(store, channel)
        keeper.housekeeper = Housekeeper(keeper.store, BlobStore(os.path.join(settings["folder"], "blobs")))
        writer = threading.Thread(target=keeper.write_loop, name="writer", daemon=True)
        reader = threading.Thread(target=keeper.query_loop, name="reader", daemon=True)
        writer.start()
        reader.start()
        threading.Thread(target=keeper.housekeeper.run, name="housekeeper", daemon=True).start()
        keeper.send({"ready": True})
        try:
            keeper.take_all()
        finally:
            keeper.writes.put(None)
            writer.join()


if __name__ == "__main__":
    main()

"""The node's side of what travels between nodes: asks for values and files, and gives the files it is asked for.

A step that asks waits here; what it has asked is asked again after a reconnect, and when nothing was heard for a
while, as the server may be another process by then. Files are not copied before they are sent: a list of them with
their digests goes first, then the server asks for pieces, and one that was changed meanwhile is noticed by its digest.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ujson
from gevent.event import Event

from director.agent.session import Session
from director.errors import DirectorError, LateError, VerbError
from director.protocol import messages
from director.runtime.greenlets import breathe, spawn
from director.transfer.manifests import ROWS_LIMIT, Row
from director.transfer.sources import Found, expand
from director.verbs.base import Fetched

log = logging.getLogger(__name__)

STALL = 15.0  # seconds without a word after which a question is asked again
PIECE = 1 << 20  # bytes read in one go, and given in one message at most
PART = 1 << 20  # bytes of a list of files in one message, about
OPEN_FILES = 8  # of one offer
OFFER_AGE = 900.0  # seconds after which an offer that nobody takes is forgotten
SHOWN = 2000

Key = tuple[str, int, int]  # job, step, set
Remaining = Callable[[], float]
Answer = tuple[dict[str, Any], bytes]


class _Call:
    """A question that waits for its answer."""

    def __init__(self) -> None:
        self.word = Event()  # anything was heard of it
        self.answer: Answer | None = None
        self.why = "the server did not answer"
        self.again = False


class _Offer:
    """Files that the server may ask for, and the messages that list them."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.files: list[Found | None] = []
        self.parts: list[bytes] = []
        self.error = ""
        self.ready = False
        self.heard = time.monotonic()
        self._open: OrderedDict[int, int] = OrderedDict()

    def list(self, found: Iterable[Found]) -> None:
        """Read what there is; the digests take a while."""
        rows: list[Row] = []
        for one in found:
            rows.append(_row(one))
            self.files.append(one if one.kind == "file" else None)
            if len(rows) > ROWS_LIMIT:
                raise VerbError(f"more than {ROWS_LIMIT} files; expected fewer, or an archive of them")
            breathe()
        self.parts = list(_parts(rows))

    def read(self, number: int, offset: int, length: int) -> bytes:
        """A piece of a file; raises OSError, IndexError, UsageError."""
        fd = self._open.pop(number, -1)
        if fd < 0:
            one = self.files[number]
            if one is None:
                raise IndexError(number)
            fd = one.open()
        self._open[number] = fd
        while len(self._open) > OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        return os.pread(fd, min(length, PIECE), offset)

    def close(self) -> None:
        """Nobody asks for it any more."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()


class NodeTransfer:
    """One for the whole client."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._calls: dict[tuple[Any, ...], _Call] = {}
        self._offers: dict[Key, _Offer] = {}

    # -- what steps ask -----------------------------------------------------------------------------------

    def query(self, job: str, step: int, name: str, remaining: Remaining) -> dict[str, dict[str, Any]]:
        """QUERY: the values of the step's nodes."""
        ask = messages.encode("query", job=job, step=step, name=name)
        body = self._call(("values", job, step), lambda: self._send(ask), remaining)[1]
        found: dict[str, dict[str, Any]] = ujson.loads(body)
        return found

    def borrow(self, job: str, step: int, number: int, remaining: Remaining) -> dict[str, Any]:
        """COPY --from: the sources, as in the body of a COPY."""
        ask = messages.encode("borrow", job=job, step=step, set=number)
        body = self._call(("sources", job, step), lambda: self._send(ask), remaining)[1]
        sources: dict[str, Any] = ujson.loads(body)
        return sources

    def fetch(self, job: str, step: int, patterns: Sequence[str], remaining: Remaining) -> Fetched:
        """FETCH: send what the patterns mean."""
        offer = _Offer((job, step, 0))
        offer.list(_found(patterns, {"hidden": True}))
        offer.ready = True
        self._offers[offer.key] = offer
        try:
            fields, body = self._call(("stored", job, step), lambda: self._tell(offer), remaining)
        finally:
            self._forget(offer)
        answer = ujson.loads(body)
        return Fetched(answer["paths"], answer["left_out"], fields["changed"])

    def _call(self, key: tuple[Any, ...], ask: Callable[[], None], remaining: Remaining) -> Answer:
        """Ask until there is an answer; raises VerbError with the answer's error, LateError at the end of the time."""
        call = self._calls[key] = _Call()
        self._session.outbox.flush()  # others may wait for what ran here before
        try:
            ask()
            while call.answer is None:
                left = remaining()
                if left < 0.01:
                    raise LateError(f"not done in time: {call.why}")
                heard = call.word.wait(min(left, STALL))
                call.word.clear()
                if call.answer is None and (call.again or not heard) and self._session.reconciled.is_set():
                    call.again = False
                    ask()
        finally:
            self._calls.pop(key, None)
        if call.answer[0]["error"]:
            raise VerbError(call.answer[0]["error"])
        return call.answer

    def _send(self, *frames: bytes) -> None:
        self._session.send(*frames)

    def ask_again(self) -> None:
        """After a welcome: the server may have lost what was asked before."""
        for call in self._calls.values():
            call.again = True
            call.word.set()

    # -- answers ------------------------------------------------------------------------------------------

    def take_values(self, fields: dict[str, Any], body: bytes = b"") -> None:
        """The answer to a QUERY, or what it waits for."""
        self._take("values", fields, body)

    def take_sources(self, fields: dict[str, Any], body: bytes = b"") -> None:
        """The answer to a COPY --from, or what it waits for."""
        self._take("sources", fields, body)

    def take_stored(self, fields: dict[str, Any], body: bytes = b"") -> None:
        """What was offered is there, or will never be."""
        self._take("stored", fields, body)
        offer = self._offers.get((fields["job"], fields["step"], fields["set"]))
        if offer is not None:
            self._forget(offer)

    def _take(self, kind: str, fields: dict[str, Any], body: bytes) -> None:
        call = self._calls.get((kind, fields["job"], fields["step"]))
        if call is None:
            return
        if fields.get("why"):
            call.why = fields["why"]
        else:
            call.answer = fields, body
        call.word.set()

    # -- giving -------------------------------------------------------------------------------------------

    def take_lend(self, fields: dict[str, Any]) -> None:
        """The server asks for files of this node; they are listed beside everything else."""
        self._forget_old()
        key = (fields["job"], fields["step"], fields["set"])
        offer = self._offers.get(key)
        if offer is None:
            offer = self._offers[key] = _Offer(key)
            spawn("lend", self._lend, offer, fields, vital=False)
        elif offer.ready:
            self._tell(offer)

    def _lend(self, offer: _Offer, fields: dict[str, Any]) -> None:
        want = {name: fields.get(name) for name in ("exclude", "hidden", "parents")}
        try:
            offer.list(_found(fields["patterns"], want))
        except (DirectorError, OSError) as error:
            offer.error = str(error)[:SHOWN]
        except Exception as error:
            log.exception("files for job %s cannot be listed", offer.key[0])
            offer.error = f"{type(error).__name__}: {error}"[:SHOWN]
        offer.ready = True
        self._tell(offer)
        if offer.error:
            self._forget(offer)

    def _tell(self, offer: _Offer) -> None:
        """Send the list."""
        job, step, number = offer.key
        parts = offer.parts or [b"[]"]
        for index, part in enumerate(parts):
            header = messages.encode(
                "offer", job=job, step=step, set=number, part=index, parts=len(parts), error=offer.error
            )
            self._send(header, part)

    def take_pull(self, fields: dict[str, Any]) -> None:
        """The server asks for pieces of what was offered."""
        offer = self._offers.get((fields["job"], fields["step"], fields["set"]))
        if offer is None:
            return
        offer.heard = time.monotonic()
        call = self._calls.get(("stored", fields["job"], fields["step"]))
        if call is not None:
            call.word.set()
        for number, offset, length in fields["pieces"]:
            self._give(offer, number, offset, length)
            breathe()

    def _give(self, offer: _Offer, number: int, offset: int, length: int) -> None:
        error, piece = "", b""
        try:
            piece = offer.read(number, offset, length)
        except OSError as failure:
            error = f"a file cannot be read: {failure.strerror}"
        except DirectorError as failure:
            error = str(failure)[:SHOWN]
        except IndexError:
            error = "no such file was offered"
        job, step, of = offer.key
        header = messages.encode("piece", job=job, step=step, set=of, file=number, offset=offset, error=error)
        self._send(header, piece)

    def _forget(self, offer: _Offer) -> None:
        offer.close()
        if self._offers.get(offer.key) is offer:
            del self._offers[offer.key]

    def _forget_old(self) -> None:
        limit = time.monotonic() - OFFER_AGE
        for offer in [offer for offer in self._offers.values() if offer.ready and offer.heard < limit]:
            if ("stored", *offer.key[:2]) not in self._calls:
                self._forget(offer)


def _found(patterns: Sequence[str], want: dict[str, Any]) -> Iterable[Found]:
    for pattern in patterns:
        yield from expand({**want, "base": "/", "pattern": pattern, "ignore": False})


def _row(found: Found) -> Row:
    digest, size = "", 0
    if found.kind == "file":
        fd = found.open()
        try:
            digest, size = _digest(fd, found.size)
        finally:
            os.close(fd)
    return [found.kind, found.path, found.mode & 0o777, size, digest, found.target, found.name]


def _digest(fd: int, size: int) -> tuple[str, int]:
    """Of the first `size` bytes: what is appended while it is sent is not part of it."""
    sha, done = hashlib.sha256(), 0
    while done < size and (piece := os.pread(fd, min(PIECE, size - done), done)):
        sha.update(piece)
        done += len(piece)
        breathe()
    return sha.hexdigest(), done


def _parts(rows: Sequence[Row]) -> Iterable[bytes]:
    """JSON lists of some rows each."""
    held: list[str] = []
    size = 0
    for row in rows:
        text = ujson.dumps(row)
        held.append(text)
        size += len(text)
        if size > PART:
            yield f"[{','.join(held)}]".encode()
            held, size = [], 0
    if held:
        yield f"[{','.join(held)}]".encode()

"""The client's side of node transfers: requests values and files of other nodes, and sends its own files.

A step that requests something waits here. Its request is sent again after a reconnect, and when nothing came for a
while, as the server may be another process by then. Files are not copied before they are sent: first goes a list of
them with their digests, then the server requests pieces; by the digest it notices a file that changed meanwhile.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ujson
from gevent.event import Event

from director.agent.session import Session
from director.errors import DirectorError, LateError, VerbError
from director.protocol import messages
from director.runtime.greenlets import breathe, spawn
from director.transfer.manifests import ROWS_LIMIT, Row
from director.transfer.pieces import Range, cut
from director.transfer.sources import Found, expand
from director.verbs.base import Fetched

log = logging.getLogger(__name__)

STALL = 15.0  # seconds without a message after which a request is sent again
PIECE = 1 << 20  # bytes that are read in one go
PART = 1 << 20  # bytes of a list of files in one message, about
OPEN_FILES = 8  # of one offer
OFFER_AGE = 900.0  # seconds after which an offer that nobody uses is forgotten
ERROR_LIMIT = 2000  # characters

Key = tuple[str, int, int]  # job, step, set of patterns
Remaining = Callable[[], float]  # seconds left for the step
Answer = tuple[dict[str, Any], Any]  # fields, and the body or bodies


@dataclass(slots=True, eq=False)
class _Request:
    """A request that waits for its answer."""

    news: Event = field(default_factory=Event)  # set by any message about it
    answer: Answer | None = None
    reason: str = "the server did not answer"  # why there is no answer yet
    again: bool = False  # send it once more


@dataclass(slots=True, eq=False)
class _Offer:
    """Files that the server may request, by digest, and the messages that list them."""

    key: Key
    files: dict[str, Found] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    error: str = ""
    ready: bool = False
    used_at: float = field(default_factory=time.monotonic)
    _open: OrderedDict[str, int] = field(default_factory=OrderedDict)  # descriptors by digest

    def list(self, patterns: Sequence[str], want: dict[str, Any]) -> None:
        """List what the patterns match; the digests take a while. Raises DirectorError, OSError."""
        rows: list[Row] = []
        for pattern in patterns:
            for found in expand({**want, "base": "/", "pattern": pattern, "ignore": False}):
                rows.append(_row(found))
                if found.kind == "file":
                    self.files.setdefault(rows[-1][4], found)
                if len(rows) > ROWS_LIMIT:
                    raise VerbError(f"more than {ROWS_LIMIT} files; expected fewer, or an archive of them")
                breathe()
        self.parts = list(_parts(rows))

    def read(self, ranges: Sequence[Range]) -> bytes:
        """The bytes of these ranges. Raises OSError, KeyError, UsageError."""
        return b"".join(os.pread(self._opened(digest), length, offset) for digest, offset, length in ranges)

    def _opened(self, digest: str) -> int:
        fd = self._open.pop(digest, -1)
        if fd < 0:
            fd = self.files[digest].open()
        self._open[digest] = fd
        while len(self._open) > OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def close(self) -> None:
        """Close the files."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()


class NodeTransfer:
    """One for the whole client.

    Args:
        check_giving: raises RefusedError when files of this node may not go to other machines.
    """

    def __init__(self, session: Session, check_giving: Callable[[], None] = lambda: None) -> None:
        self._session, self._check_giving = session, check_giving
        self._requests: dict[tuple[str, str, int], _Request] = {}  # by kind, job and step
        self._offers: dict[Key, _Offer] = {}

    # -- requests of steps --------------------------------------------------------------------------------

    def query(self, job: str, step: int, name: str, remaining: Remaining) -> dict[str, dict[str, Any]]:
        """QUERY: the values of the step's nodes. Raises VerbError, LateError."""
        message = messages.encode("query", job=job, step=step, name=name)
        found: dict[str, dict[str, Any]] = self._request("values", job, step, message, remaining)
        return found

    def borrow(self, job: str, step: int, number: int, remaining: Remaining) -> dict[str, Any]:
        """COPY --from: the sources, as in the body of a COPY. Raises VerbError, LateError."""
        message = messages.encode("borrow", job=job, step=step, set=number)
        sources: dict[str, Any] = self._request("sources", job, step, message, remaining)
        return sources

    def secrets(self, job: str, step: int, remaining: Remaining) -> tuple[list[str], Sequence[bytes]]:
        """What was sealed for this node: names, and its box before the value of each. Raises VerbError, LateError."""
        message = messages.encode("secrets_get", job=job, step=step)
        fields, parts = self._wait("secrets", job, step, lambda: self._session.send(message), remaining)
        return fields["names"], parts

    def fetch(self, job: str, step: int, patterns: Sequence[str], remaining: Remaining) -> Fetched:
        """FETCH: send the files that the patterns match. Raises DirectorError, OSError."""
        offer = _Offer((job, step, 0))
        offer.list(patterns, {"hidden": True})
        offer.ready = True
        self._offers[offer.key] = offer
        try:
            fields, body = self._wait("stored", job, step, lambda: self._send_list(offer), remaining)
        finally:
            self._forget(offer)
        answer = ujson.loads(body)
        return Fetched(answer["paths"], answer["left_out"], fields["changed"])

    def _request(self, kind: str, job: str, step: int, message: bytes, remaining: Remaining) -> Any:
        return ujson.loads(self._wait(kind, job, step, lambda: self._session.send(message), remaining)[1])

    def _wait(self, kind: str, job: str, step: int, send: Callable[[], object], remaining: Remaining) -> Answer:
        """Send until there is an answer. Raises VerbError for its error, LateError at the end of the step's time."""
        request = self._requests[kind, job, step] = _Request()
        self._session.outbox.flush()  # others may wait for what ran here before
        try:
            send()
            while request.answer is None:
                left = remaining()
                if left < 0.01:
                    raise LateError(f"not done in time: {request.reason}")
                came = request.news.wait(min(left, STALL))
                request.news.clear()
                if request.answer is None and (request.again or not came) and self._session.reconciled.is_set():
                    request.again = False
                    send()
        finally:
            self._requests.pop((kind, job, step), None)
        if request.answer[0]["error"]:
            raise VerbError(request.answer[0]["error"])
        return request.answer

    def repeat(self) -> None:
        """Send all requests again after a welcome; the server may have lost them."""
        for request in self._requests.values():
            request.again = True
            request.news.set()

    def take_secrets(self, fields: dict[str, Any], *parts: bytes) -> None:
        """The answer to `secrets`."""
        self.take_answer("secrets", fields, parts)

    def take_answer(self, kind: str, fields: dict[str, Any], body: Any = b"") -> None:
        """The answer to a request, or in `why` what it waits for."""
        request = self._requests.get((kind, fields["job"], fields["step"]))
        if request is None:
            return
        if fields.get("why"):
            request.reason = fields["why"]
        else:
            request.answer = fields, body
        request.news.set()

    # -- files of this node -------------------------------------------------------------------------------

    def take_stored(self, fields: dict[str, Any], body: bytes = b"") -> None:
        """The server has stored what was offered, or never will."""
        self.take_answer("stored", fields, body)
        if offer := self._offer_of(fields):
            self._forget(offer)

    def take_lend(self, fields: dict[str, Any]) -> None:
        """The server requests files of this node; a greenlet lists them."""
        self._forget_old()
        offer = self._offer_of(fields)
        if offer is None:
            offer = _Offer((fields["job"], fields["step"], fields["set"]))
            self._offers[offer.key] = offer
            spawn("lend", self._lend, offer, fields, vital=False)
        elif offer.ready:
            self._send_list(offer)

    def _lend(self, offer: _Offer, fields: dict[str, Any]) -> None:
        try:
            self._check_giving()
            offer.list(fields["patterns"], {name: fields.get(name) for name in ("exclude", "hidden", "parents")})
        except (DirectorError, OSError) as error:
            offer.error = str(error)[:ERROR_LIMIT]
        except Exception as error:
            log.exception("files for job %s cannot be listed", offer.key[0])
            offer.error = f"{type(error).__name__}: {error}"[:ERROR_LIMIT]
        offer.ready = True
        self._send_list(offer)
        if offer.error:
            self._forget(offer)

    def _send_list(self, offer: _Offer) -> None:
        job, step, number = offer.key
        parts = offer.parts or [b"[]"]
        for index, part in enumerate(parts):
            where = {"job": job, "step": step, "set": number, "part": index, "parts": len(parts)}
            self._session.send(messages.encode("offer", **where, error=offer.error), part)

    def take_get(self, fields: dict[str, Any]) -> None:
        """The server requests contents of what was offered."""
        offer = self._offer_of(fields)
        if offer is None:
            return
        offer.used_at = time.monotonic()
        if request := self._requests.get(("stored", fields["job"], fields["step"])):
            request.news.set()
        waiting = deque(map(tuple, fields["ranges"]))
        while waiting:
            self._send_contents(offer, cut(waiting))
            breathe()

    def _send_contents(self, offer: _Offer, ranges: list[Range]) -> None:
        error, data = "", b""
        try:
            data = offer.read(ranges)
        except OSError as failure:
            error = f"a file cannot be read: {failure.strerror}"
        except DirectorError as failure:
            error = str(failure)[:ERROR_LIMIT]
        except KeyError:
            error = "no such file was offered"
        job, step, number = offer.key
        where = {"job": job, "step": step, "set": number, "ranges": ranges}
        self._session.send(messages.encode("contents", **where, error=error), data)

    def _offer_of(self, fields: dict[str, Any]) -> _Offer | None:
        return self._offers.get((fields["job"], fields["step"], fields["set"]))

    def _forget(self, offer: _Offer) -> None:
        offer.close()
        if self._offers.get(offer.key) is offer:
            del self._offers[offer.key]

    def _forget_old(self) -> None:
        limit = time.monotonic() - OFFER_AGE
        for offer in [offer for offer in self._offers.values() if offer.ready and offer.used_at < limit]:
            if ("stored", *offer.key[:2]) not in self._requests:
                self._forget(offer)


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
    texts: list[str] = []
    size = 0
    for number, row in enumerate(rows, 1):
        texts.append(ujson.dumps(row))
        size += len(texts[-1])
        if size > PART or number == len(rows):
            yield f"[{','.join(texts)}]".encode()
            texts, size = [], 0

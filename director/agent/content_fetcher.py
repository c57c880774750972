"""Contents from the server: requested for a step, and given on as they come, or kept in the client's own blob store."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gevent.event import Event

from director.errors import DirectorError, VerbError
from director.protocol import messages
from director.transfer.blobs import BlobStore, write_all
from director.transfer.pieces import Content, Receiver

STALL = 15.0  # seconds without a byte after which the missing ones are requested again

Take = Callable[[Content, memoryview, bool], None]


@dataclass(slots=True, eq=False)
class _Transfer:
    receiver: Receiver
    take: Take
    moved: float
    error: Exception | None = None
    end: Event = field(default_factory=Event)


class Fetcher:
    """Receives contents; several tasks that need the same blob share its way into the store."""

    def __init__(self, blobs: BlobStore, send: Callable[..., object]) -> None:
        self.blobs = blobs
        self._send = send
        self._transfers: dict[tuple[str, int], _Transfer] = {}  # by job and step
        self._downloads: dict[str, Event] = {}

    def receive(self, job: str, step: int, contents: Sequence[Content], take: Take) -> None:
        """As `director.verbs.base.Node.receive`, for a step of `job`; blocks the greenlet.

        Raises:
            VerbError: the server refuses a content. And what `take` raises.
        """
        transfer = self._transfers[job, step] = _Transfer(Receiver(contents), take, time.monotonic())
        try:
            self._request(job, step, transfer, anew=True)
            while not transfer.end.wait(STALL):
                if time.monotonic() - transfer.moved >= STALL:
                    self._request(job, step, transfer, anew=True)
        finally:
            del self._transfers[job, step]
        if transfer.error is not None:
            raise transfer.error

    def get(self, job: str, step: int, digest: str, size: int) -> str:
        """The path of a blob that a step of `job` needs; blocks the greenlet while it comes.

        Args:
            digest: sha256 in hex.
            size: in bytes.

        Raises:
            VerbError: the server refuses it, or it cannot be written.
            StoreError: the disk is full.
        """
        while not self.blobs.has(digest):
            running = self._downloads.get(digest)
            if running is None:
                return self._download(job, step, digest, size)
            running.wait()
        return self.blobs.path(digest)

    def _download(self, job: str, step: int, digest: str, size: int) -> str:
        done = self._downloads[digest] = Event()
        temp, sha = self.blobs.open_temp(), hashlib.sha256()

        def take(content: Content, data: memoryview, last: bool) -> None:
            sha.update(data)
            write_all(temp.fd, data)

        try:
            if size:
                self.receive(job, step, [Content(digest, size)], take)
            return self.blobs.commit(temp, digest, sha.hexdigest())
        except OSError as error:
            raise VerbError(f"cannot write {temp.path}: {error.strerror}") from error
        finally:
            self.blobs.drop(temp)
            del self._downloads[digest]
            done.set()

    def repeat(self) -> None:
        """Request what has not come again after a welcome; the server has forgotten the requests."""
        for (job, step), transfer in self._transfers.items():
            self._request(job, step, transfer, anew=True)

    def take(self, fields: dict[str, Any], data: bytes = b"") -> None:
        """Some bytes of the contents of a step; those that were not requested are ignored."""
        job, step = fields["job"], fields["step"]
        transfer = self._transfers.get((job, step))
        if transfer is None or transfer.end.is_set():
            return
        transfer.moved = time.monotonic()
        try:
            if fields["error"]:
                raise VerbError(fields["error"])
            for part in transfer.receiver.take(fields["ranges"], memoryview(data), transfer.moved):
                transfer.take(*part)
        except (DirectorError, OSError, ValueError, TypeError) as error:
            transfer.error = error
        if transfer.error is not None or transfer.receiver.is_done:
            transfer.end.set()
        else:
            self._request(job, step, transfer)

    def _request(self, job: str, step: int, transfer: _Transfer, anew: bool = False) -> None:
        """Request what is due; `anew` if all earlier requests are lost."""
        if anew:
            transfer.receiver.again()
            transfer.moved = time.monotonic()
        if ranges := transfer.receiver.requests(transfer.moved):
            self._send(messages.encode("get", job=job, step=step, set=0, ranges=ranges, anew=anew))

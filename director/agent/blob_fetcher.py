"""Blobs from the server, in pieces under credit, into the client's own blob store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gevent.event import Event

from director.errors import VerbError
from director.protocol import messages
from director.transfer.blobs import BlobStore, Temp

PIECE = 512 * 1024  # bytes
CREDIT = 8  # pieces that are requested and not yet here
STALL = 15.0  # seconds without a piece after which the missing ones are requested again


@dataclass(slots=True, eq=False)
class _Download:
    job: str
    step: int
    digest: str
    size: int
    temp: Temp
    offsets: Iterator[int]  # of pieces that were not requested yet
    missing: int  # bytes
    requested: set[int] = field(default_factory=set)  # offsets of pieces
    error: str = ""
    progress: Event = field(default_factory=Event)
    done: Event = field(default_factory=Event)


class Fetcher:
    """Fetches blobs; several tasks that need the same one share its download."""

    def __init__(self, blobs: BlobStore, send: Callable[..., object]) -> None:
        self.blobs = blobs
        self._send = send
        self._downloads: dict[str, _Download] = {}

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
            running.done.wait()
        return self.blobs.path(digest)

    def _download(self, job: str, step: int, digest: str, size: int) -> str:
        offsets = iter(range(0, size, PIECE))
        download = self._downloads[digest] = _Download(job, step, digest, size, self.blobs.open_temp(), offsets, size)
        try:
            self._follow(download)
            return self.blobs.commit(download.temp, digest)
        finally:
            self.blobs.drop(download.temp)
            del self._downloads[digest]
            download.done.set()

    def _follow(self, download: _Download) -> None:
        while download.missing > 0:
            while len(download.requested) < CREDIT and (offset := next(download.offsets, None)) is not None:
                self._request(download, offset)
            download.progress.clear()
            if not download.progress.wait(STALL):
                for offset in sorted(download.requested):
                    self._request(download, offset)
            if download.error:
                raise VerbError(download.error)

    def _request(self, download: _Download, offset: int) -> None:
        download.requested.add(offset)
        where = {"job": download.job, "step": download.step, "digest": download.digest}
        self._send(messages.encode("blob_get", **where, offset=offset, length=PIECE))

    def take(self, fields: dict[str, Any], piece: bytes = b"") -> None:
        """Write a piece that came; ignore one that was not requested."""
        download, offset = self._downloads.get(fields["digest"]), fields["offset"]
        if download is None or offset not in download.requested:
            return
        if fields["error"] or len(piece) != min(PIECE, download.size - offset):
            download.error = fields["error"] or "the server's copy has another size"
        else:
            try:
                os.pwrite(download.temp.fd, piece, offset)
            except OSError as error:
                download.error = f"cannot write {download.temp.path}: {error.strerror}"
            download.requested.discard(offset)
            download.missing -= len(piece)
        download.progress.set()

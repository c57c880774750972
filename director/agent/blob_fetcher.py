"""File contents from the server, by digest, in pieces under credit, into the client's own blob cache."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from gevent.event import Event

from director.errors import VerbError
from director.protocol import messages
from director.transfer.blobs import BlobStore, Temp

log = logging.getLogger(__name__)

PIECE = 512 * 1024
CREDIT = 8  # pieces asked for and not yet here
STALL = 15.0  # seconds without a piece after which the missing ones are asked for again


class _Download:
    def __init__(self, job: str, digest: str, size: int, temp: Temp) -> None:
        self.job, self.digest, self.size, self.temp = job, digest, size, temp
        self.offsets = iter(range(0, size, PIECE))
        self.asked: dict[int, float] = {}
        self.left = size
        self.error = ""
        self.progress = Event()
        self.done = Event()


class Fetcher:
    """`get` gives a path; several tasks that want one content share one download."""

    def __init__(self, blobs: BlobStore, send: Callable[..., object]) -> None:
        self.blobs = blobs
        self._send = send
        self._downloads: dict[str, _Download] = {}

    def get(self, job: str, digest: str, size: int) -> str:
        """The path of a content that `job` offers; blocks the greenlet while it comes.

        Raises:
            VerbError: the server does not give it; StoreError: the disk is full.
        """
        if self.blobs.has(digest):
            return self.blobs.path(digest)
        running = self._downloads.get(digest)
        if running is not None:
            running.done.wait()
            if not running.error and self.blobs.has(digest):
                return self.blobs.path(digest)
        return self._download(job, digest, size)

    def _download(self, job: str, digest: str, size: int) -> str:
        download = self._downloads[digest] = _Download(job, digest, size, self.blobs.open_temp())
        try:
            self._follow(download)
            return self.blobs.commit(download.temp, digest)
        except BaseException as error:
            download.error = str(error) or type(error).__name__
            raise
        finally:
            self.blobs.drop(download.temp)
            del self._downloads[digest]
            download.done.set()

    def _follow(self, download: _Download) -> None:
        while download.left > 0:
            while len(download.asked) < CREDIT and (offset := next(download.offsets, None)) is not None:
                self._ask(download, offset)
            download.progress.clear()
            if not download.progress.wait(STALL):
                for offset in list(download.asked):
                    self._ask(download, offset)
            if download.error:
                raise VerbError(download.error)

    def _ask(self, download: _Download, offset: int) -> None:
        download.asked[offset] = time.monotonic()
        self._send(messages.encode("blob_get", job=download.job, digest=download.digest, offset=offset, length=PIECE))

    def take(self, fields: dict[str, Any], piece: bytes = b"") -> None:
        """A piece has come; one that nobody waits for any more is dropped."""
        download = self._downloads.get(fields["digest"])
        if download is None or fields["offset"] not in download.asked:
            return
        expected = min(PIECE, download.size - fields["offset"])
        if fields["error"] or len(piece) != expected:
            download.error = fields["error"] or "the server's copy has another size"
        else:
            try:
                os.pwrite(download.temp.fd, piece, fields["offset"])
            except OSError as error:
                download.error = f"cannot write {download.temp.path}: {error.strerror}"
            del download.asked[fields["offset"]]
            download.left -= len(piece)
        download.progress.set()

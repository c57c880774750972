"""Answers `blob_get`: pieces of the files that a node's own steps need.

A node keeps a few requests open, each for one piece, and so sets the pace. A piece is read when it is requested, so
a thousand nodes that read one file share the page cache and nothing else. Requests are answered in the order they
came, so a large file does not delay a small one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from director.protocol import messages
from director.scheduler.job_state import JobRun
from director.server.roster import NodeRecord, Send
from director.server.scheduler import Scheduler
from director.server.unread import is_behind
from director.transfer.blob_lists import named
from director.transfer.blobs import BlobStore, is_digest

PIECE_LIMIT = 1024 * 1024  # bytes


class FileServer:
    """Reads the blobs of open jobs for the nodes whose steps need them.

    Args:
        lent: whether another node lent a blob to a node for a step, see `NodeTransfer.lent`.
    """

    def __init__(
        self, blobs: BlobStore, scheduler: Scheduler, lent: Callable[[JobRun, int, str, str], bool], send: Send
    ) -> None:
        self._blobs, self._scheduler, self._lent, self._send = blobs, scheduler, lent, send

    def get(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """Answer one `blob_get`; what the step does not need on this node is refused, whether it is here or not.

        A request of a node that does not read is dropped, as its pieces would fill the server's memory.
        """
        if is_behind(record):
            return
        digest, offset = fields["digest"], fields["offset"]
        length = min(fields["length"], PIECE_LIMIT)
        error, piece = "", b""
        try:
            if not self._offered(record, fields["job"], fields["step"], digest) or offset < 0 or length <= 0:
                error = "this job does not offer that content"
            else:
                piece = _read(self._blobs.path(digest), length, offset)
        except OSError as failure:
            error = f"the server cannot read it: {failure.strerror}"
        record.pieces += len(piece)
        self._send(record, messages.encode("blob_piece", digest=digest, offset=offset, error=error), (piece,))

    def _offered(self, record: NodeRecord, job: str, step: int, digest: str) -> bool:
        run = self._scheduler.runs.get(job)
        node = run.nodes.get(record.name) if run is not None else None
        if run is None or node is None or not node.has(step) or not is_digest(digest):
            return False
        needed = named(run.chunks.contents(step), digest, self._blobs, record.name)
        return needed or self._lent(run, step, record.name, digest)


def _read(path: str, length: int, offset: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)

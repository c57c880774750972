"""Pieces of files for nodes: a node asks for what its job offers, piece by piece, and so sets the pace itself.

A node keeps a few requests open (its credit), each for one piece. A piece is read when it is asked for, so
a thousand nodes that read one file share the page cache and nothing else; requests of all nodes are
answered in the order they came, so a big file never stands before a small one.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from director.protocol import messages
from director.server.roster import NodeRecord, Send
from director.server.scheduler import Scheduler
from director.transfer.blob_lists import named
from director.transfer.blobs import BlobStore, is_digest

log = logging.getLogger(__name__)

PIECE_LIMIT = 1024 * 1024
OPEN_FILES = 256


class FileServer:
    """Serves the blobs of open jobs to the nodes that these jobs were given to.

    Args:
        lent: whether a content was lent to a job by another node.
    """

    def __init__(self, blobs: BlobStore, desk: Scheduler, lent: Callable[[str, str], bool]) -> None:
        self._blobs = blobs
        self._desk = desk
        self._lent = lent
        self._files: OrderedDict[str, int] = OrderedDict()

    def get(
        self,
        record: NodeRecord,
        fields: dict[str, Any],
        send: Send,
    ) -> None:
        """Answer one `get`; what is not offered to this node by this job is refused."""
        digest, offset = fields["digest"], fields["offset"]
        length = min(fields["length"], PIECE_LIMIT)
        error, piece = "", b""
        try:
            if not self._offered(record, fields["job"], digest) or offset < 0 or length <= 0:
                error = "this job does not offer that content"
            else:
                piece = os.pread(self._open(digest), length, offset)
        except OSError as failure:
            error = f"the server cannot read it: {failure.strerror}"
        send(record, messages.encode("blob_piece", digest=digest, offset=offset, error=error), (piece,))

    def _offered(self, record: NodeRecord, job: str, digest: str) -> bool:
        run = self._desk.runs.get(job)
        if run is None or record.name not in run.nodes or not is_digest(digest):
            return False
        return named(run.meta.get("digests", ()), digest, self._blobs) or self._lent(job, digest)

    def _open(self, digest: str) -> int:
        descriptor = self._files.pop(digest, None)
        if descriptor is None:
            descriptor = os.open(self._blobs.path(digest), os.O_RDONLY | os.O_CLOEXEC)
        self._files[digest] = descriptor
        while len(self._files) > OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        return descriptor

"""One upload of the files worker: the list of files in parts, then the contents; bounded before it is read.

A list stays the text that came until the upload has its turn, as rows take ten times as much memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ujson

from director.errors import VerbError
from director.transfer.blobs import Temp
from director.transfer.manifests import BYTES_LIMIT, ROWS_LIMIT, Row, check
from director.transfer.pieces import Receiver

CREDIT = 4 * 1024 * 1024  # bytes requested and not received yet, of one upload
PART_LIMIT = 2 * 1024 * 1024  # bytes of a part of a list; clients end a part with the row that passes 1 MiB
PARTS = BYTES_LIMIT >> 20  # of one list
SENT = 500_000  # contents that are known to have been sent by their node; beyond it they are requested again
PATIENCE = 60.0  # seconds without a part or a content after which an upload ends

Key = tuple[str, int, int, str]


@dataclass(slots=True, eq=False)
class Upload:
    """The files of one node for one step.

    Attributes:
        land: where FETCH writes them, None for a loan.
        count: parts that the list has.
        parts: those that have come, by number, until the list is read.
        size: bytes of these.
        moved: monotonic time of the last part or content, or at which the upload got its turn.
        digest: of the list, once it is complete.
        rows: of the list, once it is the upload's turn.
        receiver: of the contents that are requested, once it is known which.
        anew: earlier requests are lost.
        temp, sha: the large content that is coming, and its digest so far.
    """

    key: Key
    count: int
    land: dict[str, Any] | None
    moved: float
    parts: dict[int, bytes] = field(default_factory=dict)
    size: int = 0
    digest: bytes = b""
    rows: list[Row] = field(default_factory=list)
    has_turn: bool = False
    receiver: Receiver | None = None
    anew: bool = True
    temp: Temp | None = None
    sha: Any = None

    @property
    def node(self) -> str:
        """The name of the node that sends it."""
        return self.key[3]

    def take_part(self, number: int, body: bytes) -> None:
        """Take a part of the list; one that is there already, or that the list does not have, changes nothing."""
        if self.digest or not 0 <= number < self.count or number in self.parts:
            return
        self.parts[number] = body
        self.size += len(body)
        if len(self.parts) == self.count:
            whole = hashlib.sha256()
            for index in range(self.count):
                whole.update(self.parts[index])
            self.digest = whole.digest()

    def read(self) -> Iterator[bool]:
        """Read the rows of the complete list, a part at a time. Raises VerbError: it is malformed."""
        rows: list[Row] = []
        for index in range(self.count):
            found = ujson.loads(self.parts.pop(index) or b"[]")
            if not isinstance(found, list) or len(rows) + len(found) > ROWS_LIMIT:
                raise VerbError(f"a list of files has another shape, or more than {ROWS_LIMIT} rows")
            rows += found
            yield False
        self.rows = check(rows)

    def name_of(self, digest: str) -> str:
        """The path of a file with this content, for messages."""
        return next((str(row[1] or row[6]) for row in self.rows if row[4] == digest), "")


class Sent:
    """Which contents each node has sent itself, by the open job that it sent them for."""

    def __init__(self) -> None:
        self._digests: dict[tuple[str, str], set[str]] = {}  # by job and node
        self._count = 0

    def has(self, key: Key, digest: str) -> bool:
        """Whether the node has sent this content for the job."""
        return digest in self._digests.get((key[0], key[3]), ())

    def note(self, key: Key, digest: str) -> None:
        """The node has sent it."""
        if self._count < SENT and not self.has(key, digest):
            self._digests.setdefault((key[0], key[3]), set()).add(digest)
            self._count += 1

    def forget(self, job: str) -> None:
        """The job is over."""
        for owner in [owner for owner in self._digests if owner[0] == job]:
            self._count -= len(self._digests.pop(owner))

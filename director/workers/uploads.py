"""One upload of the files worker: the list of files in parts, then the pieces; bounded before anything is built of it.

A list stays the text that came until the upload has its turn, as rows take ten times as much memory. The pieces to
request are made one after another while others arrive.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ujson

from director.errors import VerbError
from director.transfer.blobs import Temp
from director.transfer.manifests import BYTES_LIMIT, ROWS_LIMIT, Row, check

PIECE = 512 * 1024
CREDIT = 4 * 1024 * 1024  # bytes requested and not received yet, of one upload
PULLS = 64  # pieces requested and not received yet, of one upload
PART_LIMIT = 2 * 1024 * 1024  # bytes of a part of a list; clients end a part with the row that passes 1 MiB
PARTS = BYTES_LIMIT >> 20  # of one list
SENT = 500_000  # contents that are known to have been sent by their node; beyond it they are requested again
PATIENCE = 60.0  # seconds without a part or a piece after which an upload ends

Key = tuple[str, int, int, str]
Pull = tuple[int, int, int]  # row, offset, length


@dataclass(slots=True, eq=False)
class Upload:
    """The files of one node for one step.

    Attributes:
        land: where FETCH writes them, None for a loan.
        count: parts that the list has.
        parts: those that have come, by number, until the list is read.
        size: bytes of these.
        moved: monotonic time of the last part or piece, or at which the upload got its turn.
        digest: of the list, once it is complete.
        rows: of the list, once it is the upload's turn.
        missing: rows whose contents are to be requested.
        requested: length by row and offset of pieces on their way.
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
    requested: dict[tuple[int, int], int] = field(default_factory=dict)
    temps: dict[int, tuple[Temp, int]] = field(default_factory=dict)
    _again: deque[Pull] = field(default_factory=deque)
    _pieces: Iterator[Pull] = field(default_factory=lambda: iter(()))

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

    def read(self) -> list[Row]:
        """The rows of the complete list, which is not kept as text any more. Raises VerbError: it is malformed."""
        rows: list[Row] = []
        for index in range(self.count):
            found = ujson.loads(self.parts.pop(index) or b"[]")
            if not isinstance(found, list) or len(rows) + len(found) > ROWS_LIMIT:
                raise VerbError(f"a list of files has another shape, or more than {ROWS_LIMIT} rows")
            rows += found
        self.rows = check(rows)
        return self.rows

    def want(self, numbers: list[int]) -> None:
        """Request the contents of these rows from now on."""
        self._pieces = (
            (number, at, min(PIECE, self.rows[number][3] - at))
            for number in numbers
            for at in range(0, self.rows[number][3], PIECE)
        )

    def request_again(self) -> None:
        """Let `next_pulls` return again what was requested: those requests are lost."""
        self._again.extend((row, at, length) for (row, at), length in self.requested.items())
        self.requested.clear()

    def next_pulls(self) -> list[Pull]:
        """The pieces to request now."""
        pulls: list[Pull] = []
        room = CREDIT - sum(self.requested.values())
        while room > 0 and len(self.requested) < PULLS:
            pull = self._again.popleft() if self._again else next(self._pieces, None)
            if pull is None:
                break
            row, offset, length = pull
            self.requested[row, offset] = length
            room -= length
            pulls.append(pull)
        return pulls


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

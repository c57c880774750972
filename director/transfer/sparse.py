"""Files with holes: where their data is, so that holes are neither read nor hashed, sent or written.

The digest of such a file is that of its data, one part after another; with size and parts it says all of the file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence

from director.transfer.blobs import pieces_of

LEAST = 1 << 20  # bytes of holes that are worth it
MOST = 10_000  # parts with data; a file with more is sent as a whole

Extent = tuple[int, int]  # offset and length in bytes


def extents_of(fd: int) -> tuple[Extent, ...] | None:
    """The parts of an open file that may hold data; None when it has few holes, or too many.

    Raises OSError.
    """
    status = os.fstat(fd)
    if status.st_size - 512 * status.st_blocks < LEAST:
        return None
    found: list[Extent] = []
    for extent in _data(fd):
        found.append(extent)
        if len(found) > MOST:
            return None
    return tuple(found)


def is_in(fd: int, extents: Sequence[Extent], digest: str, breathe: Callable[[], object]) -> bool:
    """Whether an open file, which has the right size, holds this data and zeros elsewhere. Raises OSError."""
    sha = hashlib.sha256()
    for offset, length in extents:
        for piece in pieces_of(fd, offset, length):
            sha.update(piece)
            breathe()
    if sha.hexdigest() != digest:
        return False
    for offset, length in _outside(_data(fd), extents):
        for piece in pieces_of(fd, offset, length):
            if piece != bytes(len(piece)):
                return False
            breathe()
    return True


def _data(fd: int) -> Iterator[Extent]:
    """The parts of a file that are no holes, as its file system tells."""
    end = 0
    while True:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:  # ENXIO: the rest is a hole
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end - start


def _outside(found: Iterator[Extent], known: Sequence[Extent]) -> Iterator[Extent]:
    """The parts of the extents found that are in none of the known ones; both are in order."""
    number = 0
    for start, length in found:
        end = start + length
        while start < end:
            while number < len(known) and sum(known[number]) <= start:
                number += 1
            below = known[number][0] if number < len(known) else end
            if below > start:
                yield start, min(end, below) - start
            start = min(end, max(below, sum(known[number]) if number < len(known) else end))

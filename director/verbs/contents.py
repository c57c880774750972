"""The content that a file must hold, a blob or bytes in memory: compared with a file and written to one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Protocol

from director.transfer.blobs import PIECE, pieces_of, write_all

Breathe = Callable[[], object]


class Content(Protocol):
    """The bytes of one file; `size` in bytes."""

    size: int

    def is_in(self, fd: int) -> bool:
        """Whether an open file, which has this size, holds the same. Raises OSError when it cannot be read."""

    def write_to(self, fd: int) -> None:
        """Write all of it at the descriptor's position. Raises OSError."""


class Bytes:
    """A content in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def is_in(self, fd: int) -> bool:
        """Compared byte by byte."""
        return os.pread(fd, self.size + 1, 0) == self.data

    def read(self) -> bytes:
        """All of it."""
        return self.data

    def write_to(self, fd: int) -> None:
        """In one go."""
        write_all(fd, self.data)


class Blob:
    """A content known by its digest, fetched only when the file does not hold it yet.

    Args:
        digest: sha256 hex.
        fetch: gives the path of the content.
        breathe: called between MiBs.
    """

    def __init__(self, digest: str, size: int, fetch: Callable[[], str], breathe: Breathe) -> None:
        self.digest = digest
        self.size = size
        self._fetch = fetch
        self._breathe = breathe

    def is_in(self, fd: int) -> bool:
        """Compared by digest."""
        return sha256_of(fd, self._breathe) == self.digest

    def read(self) -> bytes:
        """All of it."""
        with open(self._fetch(), "rb") as file:
            return file.read()

    def write_to(self, fd: int) -> None:
        """By the kernel where it can copy (or share) between the two file systems, else piece by piece."""
        source = os.open(self._fetch(), os.O_RDONLY | os.O_CLOEXEC)
        try:
            if not self._copy_in_kernel(source, fd):
                for piece in pieces_of(source):
                    write_all(fd, piece)
                    self._breathe()
        finally:
            os.close(source)

    def _copy_in_kernel(self, source: int, fd: int) -> bool:
        left = self.size
        while left:
            try:
                count = os.copy_file_range(source, fd, min(left, 8 * PIECE))
            except OSError:
                if left != self.size:
                    raise
                return False
            if not count:
                return left != self.size
            left -= count
            self._breathe()
        return True


def sha256_of(fd: int, breathe: Breathe) -> str:
    """The digest of an open file in hex. Raises OSError when it cannot be read."""
    sha = hashlib.sha256()
    for piece in pieces_of(fd):
        sha.update(piece)
        breathe()
    return sha.hexdigest()

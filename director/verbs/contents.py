"""The content that a file must hold, a blob or bytes in memory: compared with a file and written to a new one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from director.errors import VerbError
from director.transfer import sparse
from director.transfer.blobs import pieces_of
from director.transfer.file_batch import Batch, NewFile
from director.transfer.pieces import Content
from director.transfer.safe_write import Folder, broken

SMALL = 64 * 1024  # bytes that are read in one go
Breathe = Callable[[], object]


class Here(Protocol):
    """A content that is on the node; `size` in bytes."""

    size: int

    def is_in(self, fd: int) -> bool:
        """Whether an open file, which has this size, holds the same. Raises OSError when it cannot be read."""

    def write_to(self, new: NewFile) -> None:
        """Write all of it. Raises OSError."""


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

    def write_to(self, new: NewFile) -> None:
        """In one go."""
        new.write(self.data)


class Remote:
    """A content that the server has, requested only when the file does not hold it yet.

    Args:
        path_of: gives the path of a blob that was fetched, by sha256 and size.
        breathe: called between MiBs.
    """

    __slots__ = ("_breathe", "_path_of", "content", "size")

    def __init__(self, content: Content, path_of: Callable[[str, int], str], breathe: Breathe) -> None:
        self.content, self.size = content, content.length
        self._path_of, self._breathe = path_of, breathe

    def is_in(self, fd: int) -> bool:
        """Compared by digest."""
        if self.content.extents is not None:
            return sparse.is_in(fd, self.content.extents, self.content.digest, self._breathe)
        if self.size <= SMALL:
            return hashlib.sha256(os.pread(fd, self.size + 1, 0)).hexdigest() == self.content.digest
        return sha256_of(fd, self._breathe) == self.content.digest

    def read(self) -> bytes:
        """All of it."""
        with open(self._path_of(*self.content.blob), "rb") as file:
            file.seek(self.content.offset)
            return file.read(self.size)


Holding = Here | Remote


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file that is to be written when its content comes."""

    content: Content
    path: str
    folder: Folder
    name: str
    mode: int


class Arriving:
    """Writes files while their contents come, in the same order, and checks each against its digest."""

    def __init__(self, files: Sequence[Waiting], batch: Batch, uid: int, gid: int) -> None:
        self._left = iter(files)
        self._batch, self._owner = batch, (uid, gid)
        self._file: Waiting | None = None
        self._new: NewFile | None = None
        self._sha = hashlib.sha256()

    def take(self, content: Content, data: memoryview, last: bool) -> None:
        """The next bytes. Raises VerbError: the file cannot be written, or the content is another."""
        file = self._file = self._file or next(self._left)
        try:
            if self._new is None:
                self._new = self._batch.begin(file.folder, file.name, *self._owner, file.mode)
                self._sha = hashlib.sha256()
                if content.extents is not None:
                    self._new.leave_holes(content.extents, content.file_size)
            self._sha.update(data)
            self._new.write(data)
            if last:
                if self._sha.hexdigest() != content.digest:
                    raise VerbError(f"{file.path}: the content received is not the one with {content.digest[:12]}…")
                self._batch.end(self._new)
                self._file = self._new = None
        except OSError as error:
            raise broken(file.path, error) from error


def check_room(files: Sequence[Waiting]) -> None:
    """Before bytes are requested: whether there is room for them. Raises VerbError with the path of the first file."""
    by_device: dict[int, tuple[Waiting, int]] = {}
    for file in files:
        first, size = by_device.get(file.folder.device, (file, 0))
        by_device[file.folder.device] = first, size + file.content.size
    for first, size in by_device.values():
        disk = os.fstatvfs(first.folder.fd)
        if disk.f_bavail * disk.f_frsize < size:
            raise VerbError(f"{first.path}: no room for {size} bytes on its file system; nothing was sent")


def sha256_of(fd: int, breathe: Breathe) -> str:
    """The digest of an open file in hex. Raises OSError when it cannot be read."""
    sha = hashlib.sha256()
    for piece in pieces_of(fd):
        sha.update(piece)
        breathe()
    return sha.hexdigest()

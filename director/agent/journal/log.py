"""An append-only file of records with checksums: JSON fields and raw bytes; a torn end is found and cut off.

A file is `MAGIC`, then records: three little-endian 32-bit numbers (bytes of fields, bytes of body, CRC-32 of
both), the fields as a JSON list, the body. Reading stops at the first record whose checksum is wrong.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from struct import Struct
from typing import Any
from zlib import crc32

import ujson

from director.errors import StoreError
from director.runtime.durable import sync_folder

MAGIC = b"director journal 3\n"
ANY_VERSION = b"director journal "
FRAME = Struct("<III")
FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT


class Body:
    """The place of a record's raw bytes in the file; `read` reads them."""

    __slots__ = ("log", "offset", "size")

    def __init__(self, log: Log, offset: int, size: int) -> None:
        self.log = log
        self.offset = offset
        self.size = size

    def read(self) -> bytes:
        """The bytes; raises StoreError."""
        return self.log.read(self.offset, self.size)


Record = tuple[list[Any], "Body | None"]  # fields, and a body that is on disk already


@contextlib.contextmanager
def failing(what: str) -> Iterator[None]:
    """Raise a StoreError that says `what` and why in place of an OSError."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{what}: {error.strerror}") from error


def encode(fields: list[Any], body: bytes = b"") -> bytes:
    """One record as it is on disk."""
    head = ujson.dumps(fields, escape_forward_slashes=False, ensure_ascii=True).encode()
    return b"".join((FRAME.pack(len(head), len(body), crc32(body, crc32(head))), head, body))


class Log:
    """The open file. When a write fails, no part of its record stays."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = 0
        self._fd = -1
        self._torn = False

    def open(self, each: Callable[[list[Any], Body, int], object]) -> int:
        """Call `each` with the fields, body and bytes on disk of every record; the number of bytes cut off a torn end.

        Raises StoreError when the file cannot be read or another version wrote it.
        """
        with failing(self.path):
            self._fd = os.open(self.path, FLAGS, 0o600)
            with open(self.path, "rb") as file:
                self.size = self._scan(file, each)
            end = os.fstat(self._fd).st_size
            if end > self.size:
                os.ftruncate(self._fd, self.size)
        return end - self.size

    def _scan(self, file: Any, each: Callable[[list[Any], Body, int], object]) -> int:
        """Where the last whole record ends."""
        begin = file.read(len(MAGIC))
        if begin != MAGIC:
            if len(begin) == len(MAGIC) and begin.startswith(ANY_VERSION):
                raise StoreError(f"{self.path}: written by another version of director")
            return 0
        good = len(MAGIC)
        while len(frame := file.read(FRAME.size)) == FRAME.size:
            heads, bodies, check = FRAME.unpack(frame)
            head, offset = file.read(heads), good + FRAME.size + heads
            body = file.read(bodies)
            if not heads or len(body) < bodies or crc32(body, crc32(head)) != check:
                break
            each(ujson.loads(head), Body(self, offset, bodies), offset + bodies - good)
            good = offset + bodies
        return good

    def append(self, fields: list[Any], body: bytes = b"") -> tuple[int, int]:
        """Write one record; gives the offset of its body and its bytes on disk. Raises StoreError."""
        data = encode(fields, body)
        self._write(data)
        self.size += len(data)
        return self.size - len(body), len(data)

    def _write(self, data: bytes) -> None:
        try:
            if self._torn:
                self._mend()
            done = os.write(self._fd, data)
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError as error:
            self._torn = True
            with contextlib.suppress(OSError):  # the next write tries again
                self._mend()
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from error

    def _mend(self) -> None:
        """Cut a half-written record off."""
        os.ftruncate(self._fd, self.size)
        self._torn = False

    def sync(self) -> None:
        """Flush to disk; raises StoreError."""
        with failing(f"cannot write {self.path}"):
            os.fdatasync(self._fd)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of a record's body; raises StoreError."""
        with failing(f"cannot read {self.path}"):
            data = os.pread(self._fd, size, offset)
        if len(data) != size:
            raise StoreError(f"cannot read {self.path}: it ends too early")
        return data

    def replace(self, records: Iterable[Record]) -> list[int]:
        """Replace the file by one with only these records, flushed to disk; gives the bytes of each record.

        Raises StoreError, and then the old file is unchanged.
        """
        fresh = f"{self.path}.new"
        moved: list[tuple[Body, int]] = []
        sizes: list[int] = []
        try:
            fd = os.open(fresh, FLAGS | os.O_TRUNC, 0o600)
            try:
                _fill(fd, records, moved, sizes)
                os.fsync(fd)
                os.rename(fresh, self.path)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(fresh)
            raise StoreError(f"cannot write {fresh}: {error.strerror}") from error
        self.close()
        self._fd, self.size, self._torn = fd, len(MAGIC) + sum(sizes), False
        for body, offset in moved:
            body.offset = offset
        with failing(f"cannot write {os.path.dirname(self.path)}"):
            sync_folder(os.path.dirname(self.path))
        return sizes

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _fill(fd: int, records: Iterable[Record], moved: list[tuple[Body, int]], sizes: list[int]) -> None:
    """Write all records; `moved` gets the new offset of each body, `sizes` the bytes of each record."""
    end = len(MAGIC)
    with open(fd, "wb", closefd=False) as file:
        file.write(MAGIC)
        for fields, body in records:
            content = body.read() if body is not None else b""
            data = encode(fields, content)
            file.write(data)
            sizes.append(len(data))
            end += len(data)
            if body is not None:
                moved.append((body, end - len(content)))

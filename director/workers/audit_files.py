"""The files of the audit log: lines are appended, files are begun by size, a line cut off by a crash is removed.

A file is named by the number of its first line, `audit-000000000001.jsonl`. One thread writes; others read what is
durable.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import threading
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from director.runtime.durable import sync_folder
from director.stores.audit_chain import Head, Line, read

LINE_LIMIT = 1 << 20  # bytes of a line that are read at once
_NAME = re.compile(r"audit-([0-9]{12,18})\.jsonl")


class Extent(NamedTuple):
    """A file, the number of its first line, and how much of it is durable."""

    path: str
    first: int
    size: int


class AuditFiles:
    """The files in one folder.

    Args:
        folder: made by `open`.
        size: bytes after which a new file is begun.
        count: files that are kept.

    Attributes:
        head: the last line that is durable.
    """

    def __init__(self, folder: str, size: int, count: int) -> None:
        self.folder, self._limit, self._count = folder, size, count
        self.head = Head()
        self._current: Extent | None = None  # the file that is written; None: the next line begins one
        self._lock = threading.Lock()

    def open(self) -> int:
        """Find the end of the log; returns how many bytes of an unfinished line were removed there. Raises OSError."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        found, cut = self._extents(), 0
        while found and not found[-1].size:  # a file without a line
            os.unlink(found.pop().path)
        if found:
            path, first, size = found[-1]
            whole, last = _end_of(path)
            if cut := size - whole:
                with open(path, "r+b") as file:
                    file.truncate(whole)
                    os.fsync(file.fileno())
            self._current = Extent(path, first, whole)
            self.head = Head(last.number, last.hash) if last else Head(first - 1)
        return cut

    def append(self, lines: Iterable[tuple[int, str]]) -> None:
        """Write lines, each with its number; they are durable on return. Raises OSError: none of them is there."""
        rows = list(lines)
        line = read(rows[-1][1].encode())
        if line is None:
            raise OSError("the ledger has a line of the audit log that is none")
        data = "".join(f"{text}\n" for _, text in rows).encode()
        current = self._current
        if current is None or current.size >= self._limit or not _is_as(current):
            name = f"audit-{rows[0][0]:012d}.jsonl"
            current = Extent(os.path.join(self.folder, name), rows[0][0], 0)
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
        _write(current, data)
        with self._lock:
            self._current = current._replace(size=current.size + len(data))
            self.head = Head(line.number, line.hash)

    def surplus(self) -> Iterator[tuple[str, int, Head]]:
        """The oldest files beyond those that are kept: path, number of the first line, and the last line."""
        found = self._extents()
        for old, following in itertools.pairwise(found[: max(0, len(found) - self._count) + 1]):
            with open(following.path, "rb") as file:
                line = read(file.readline(LINE_LIMIT).rstrip(b"\n"))
            yield old.path, old.first, Head(following.first - 1, line.previous if line else "")

    def snapshot(self) -> tuple[Head, list[Extent]]:
        """The last line that is durable, and the files up to it."""
        with self._lock:
            head, current = self.head, self._current
        found = self._extents()
        return head, [current if current is not None and one.path == current.path else one for one in found]

    def first(self) -> int:
        """The number of the first line in the files, or of the one that will be."""
        with contextlib.suppress(OSError):
            if found := self._extents():
                return found[0].first
        return self.head.number + 1

    def _extents(self) -> list[Extent]:
        """All files as they are on the disk, the oldest first. Raises OSError."""
        found = []
        for entry in os.scandir(self.folder) if os.path.isdir(self.folder) else ():
            match = _NAME.fullmatch(entry.name)
            if match and entry.is_file(follow_symlinks=False):
                found.append(Extent(entry.path, int(match[1]), entry.stat().st_size))
        return sorted(found, key=lambda one: one.first)


class Cursor:
    """Reads lines behind a number, in order, as they become durable.

    Raises:
        OSError: the files cannot be read.
    """

    def __init__(self, files: AuditFiles, after: int) -> None:
        self._files, self.number = files, after
        self._file: BinaryIO | None = None
        self._first = 0

    def read(self, limit: int) -> list[tuple[int, bytes]]:
        """The next lines, about `limit` bytes of them; none when there are no more now. Raises OSError."""
        found: list[tuple[int, bytes]] = []
        head = self._files.head
        while limit > 0 and self.number < head.number and (self._file is not None or self._next_file()):
            assert self._file is not None
            place = self._file.tell()
            text = self._file.readline(LINE_LIMIT)
            line = read(text.rstrip(b"\n")) if text.endswith(b"\n") else None
            if line is not None and line.number > head.number:
                self._file.seek(place)
                break
            if not text or (line is None and not text.endswith(b"\n") and len(text) < LINE_LIMIT):
                self._file.seek(place)
                if not self._next_file():
                    break
            elif line is not None and line.number > self.number:
                self.number, limit = line.number, limit - len(text)
                found.append((line.number, text.rstrip(b"\n")))
        return found

    def close(self) -> None:
        """End the use of the file."""
        if self._file is not None:
            self._file.close()

    def _next_file(self) -> bool:
        """Go to the file with the next line; False when there is none."""
        found = [one for one in self._files.snapshot()[1] if one.first > self._first]
        later = [one for one in found if one.first > self.number + 1]
        path = next((one for one in reversed(found) if one.first <= self.number + 1), later[0] if later else None)
        if path is None:
            return False
        self.close()
        self._file, self._first = open(path.path, "rb"), path.first  # noqa: SIM115
        return True


def rows_of(extent: Extent) -> Iterator[bytes]:
    """The durable lines of a file, without line feeds. Raises OSError."""
    with open(extent.path, "rb") as file:
        left = extent.size
        while left > 0 and (text := file.readline(min(left, LINE_LIMIT))):
            left -= len(text)
            yield text.removesuffix(b"\n")


def _is_as(extent: Extent) -> bool:
    """Whether the file is as it was left; another one, or one that was cut, is not written any more."""
    try:
        return os.stat(extent.path, follow_symlinks=False).st_size == extent.size
    except OSError:
        return False


def _write(extent: Extent, data: bytes) -> None:
    """Append to a file, or make it; durable on return. Raises OSError: it is as it was."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if extent.size else os.O_CREAT | os.O_TRUNC)
    descriptor = os.open(extent.path, flags, 0o600)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
        if not extent.size:
            sync_folder(os.path.dirname(extent.path))
    except OSError:
        os.ftruncate(descriptor, extent.size)
        raise
    finally:
        os.close(descriptor)


def _end_of(path: str) -> tuple[int, Line | None]:
    """The bytes of a file up to its last line feed, and the last line; None when it is no line of a log."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - 2 * LINE_LIMIT)
        file.seek(start)
        tail = file.read()
    whole = tail.rfind(b"\n") + 1
    begin = tail.rfind(b"\n", 0, max(0, whole - 1)) + 1
    return start + whole, read(tail[begin : whole - 1]) if whole else None

"""Reads SQLite's write-ahead log without SQLite: how far it is whole, and whether the rest is torn or damaged.

The format is https://www.sqlite.org/fileformat2.html#walformat: a header of 32 bytes, then frames of 24 bytes and a
page each. A frame's checksum begins with the one stored in the frame before it, so a chain of sound frames proves
itself from the header on. A frame with a size in its header is the last one of a transaction, its commit. SQLite
takes the frames up to the last commit before the first frame that is not sound, and drops the rest in silence. The
rest may be one of three things:

- Frames of an earlier generation. When all of the log is in the database, SQLite writes it anew from its beginning
  with new salts, and frames of the earlier generation stay after the new ones. Their salts differ; they are ignored.
- A torn end. With synchronous=FULL a transaction is on disk before a frame of the next one is written, so a crash can
  break the newest transaction only. Any of its frames may be missing, also when its commit is there: the disk may
  write frames in any order, and a killed process may have written the commit before it corrected the checksums of
  pages that it had written twice. Nothing was acknowledged from that transaction.
- Damage. The commit of a later transaction follows the bad frame, with the salts of this generation. Then the bad frame
  was on disk once and has changed since. If only one commit follows, it may be the torn transaction's own and proves
  nothing, unless the file `-shm` is left: it holds how many frames were on disk, and is written after them.

A torn end would look like damage when a crash left frames behind it and new frames were written in front of those with
the same salts. So a torn end is cut off before the log is written again (see `mend` in `repair.py`). A transaction that
was rolled back because the disk would not sync leaves frames too; two of them in one generation may be taken for
damage. That errs on the safe side, and the disk is at fault in either case.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple

_HEADER = struct.Struct(">4I8s2I")  # magic, version, size of a page, number of checkpoints, salts, checksum
_FRAME = struct.Struct(">2I8s2I")  # page, size of the database at a commit or 0, salts, checksum
_INDEX = struct.Struct("=16xI12x8s2I")  # of -shm: frames that are committed, salts, checksum of what is before
_ORDERS = {0x377F0682: "<", 0x377F0683: ">"}  # magic number to the byte order of the checksums' words
_VERSION = 3007000
_WORD = 0xFFFFFFFF

Sum = tuple[int, int]


class Frame(NamedTuple):
    """One frame of the log's generation, or of another one (`page` is 0).

    Attributes:
        page: the page's number in the database.
        commit: whether a transaction ends here.
        sound: whether its checksum follows from the one stored in the frame before it.
    """

    page: int
    commit: bool
    sound: bool


NO_FRAME = Frame(0, False, False)


class Log(NamedTuple):
    """What a log holds; frames are counted from 1.

    Attributes:
        page_size: in bytes.
        header: whether the header is sound; if not, SQLite ignores the log.
        frames: all of them.
        committed: how many frames are transactions on disk by the file `-shm`, 0 without one.
    """

    page_size: int
    header: bool
    frames: list[Frame]
    committed: int

    @property
    def commits(self) -> list[int]:
        """The numbers of the frames that end a transaction, by their marks and by `committed`."""
        marked = {number for number, frame in enumerate(self.frames, 1) if frame.commit}
        return sorted((marked | {self.committed}) - {0})

    @property
    def chain(self) -> int:
        """How many frames are sound, from the first one on."""
        bad = (number for number, frame in enumerate(self.frames) if not frame.sound)
        return next(bad, len(self.frames)) if self.header else 0

    @property
    def whole(self) -> int:
        """How many frames SQLite reads: up to the last commit in the chain."""
        return max((number for number in self.commits if number <= self.chain), default=0)

    @property
    def damaged(self) -> bool:
        """Whether a transaction that was on disk can no longer be read from the log."""
        behind = sum(number > self.chain for number in self.commits)
        torn = 1 if self.header else 0  # a header is on disk before its first frame is written
        return behind > torn or self.committed > self.whole

    def end_of(self, number: int) -> int:
        """Where the frame with this number ends in the file; 0 is the header."""
        return _HEADER.size + number * (_FRAME.size + self.page_size)

    def page_at(self, number: int) -> int:
        """Where its page begins in the file."""
        return self.end_of(number) - self.page_size


def read(database: str) -> Log | None:
    """The log beside a database, None without one or without a header. Raises OSError."""
    with suppress(FileNotFoundError), open(f"{database}-wal", "rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return None
        sound, size = _check_header(head)
        size = size if sound else page_size(database)
        bodies = iter(lambda: file.read(_FRAME.size + size), b"")
        return _parse(head, sound, size, bodies, _index_of(database)) if size else None
    return None


def page_size(database: str) -> int:
    """The size of a page by the database's header; 0 for a missing or a strange file. Raises OSError."""
    with suppress(FileNotFoundError), open(database, "rb") as file:
        file.seek(16)
        size = int.from_bytes(file.read(2), "big")
        size = 65536 if size == 1 else size
        return size if size >= 512 and size.bit_count() == 1 else 0
    return 0


def _check_header(head: bytes) -> tuple[bool, int]:
    """Whether the header is sound, and the size of a page that it names."""
    magic, version, size, _, _, *stored = _HEADER.unpack(head)
    known = magic in _ORDERS and version == _VERSION
    return known and _add(struct.unpack(f"{_ORDERS[magic]}6I", head[:24]), (0, 0)) == tuple(stored), size


def _parse(head: bytes, header: bool, size: int, bodies: Iterator[bytes], index: bytes) -> Log:
    magic, _, _, _, salts, *rest = _HEADER.unpack(head)
    words = struct.Struct(f"{_ORDERS.get(magic, '=')}{(8 + size) // 4}I")
    frames: list[Frame] = []
    before = rest[0], rest[1]
    for body in bodies:
        if len(body) < _FRAME.size + size:
            break
        page, commit, own, *stored = _FRAME.unpack_from(body)
        salts = salts if header or frames else own  # a bad header does not tell the salts
        if own == salts:
            sound = page > 0 and _add(words.unpack(body[:8] + body[_FRAME.size :]), before) == tuple(stored)
            frames.append(Frame(page, commit > 0, sound))
        else:
            frames.append(NO_FRAME)
        before = stored[0], stored[1]
    return Log(size, header, frames, _committed(index, salts))


def _add(words: tuple[int, ...], start: Sum) -> Sum:
    """SQLite's checksum over 32-bit words, two at a time."""
    a, b = start
    pairs = iter(words)
    for x, y in zip(pairs, pairs, strict=True):
        a = (a + x + b) & _WORD
        b = (b + y + a) & _WORD
    return a, b


def _index_of(database: str) -> bytes:
    """The header of the file `-shm`, "" without one or when its two copies differ."""
    with suppress(OSError), open(f"{database}-shm", "rb") as file:
        first, second = file.read(_INDEX.size), file.read(_INDEX.size)
        return first if first == second and len(first) == _INDEX.size else b""
    return b""


def _committed(index: bytes, salts: bytes) -> int:
    if not index:
        return 0
    frames, own, *stored = _INDEX.unpack(index)
    known = own == salts and _add(struct.unpack("=10I", index[:40]), (0, 0)) == tuple(stored)
    return int(frames) if known else 0


def copied(log: Log, database: str) -> Sum:
    """How many frames are in the database already: at least the first number, fewer than the second.

    When the second is not larger than the first, the database's pages are of several moments. Raises OSError.
    """
    least, most = 0, len(log.frames) + 1
    numbers: dict[int, list[int]] = {}
    for number, frame in enumerate(log.frames, 1):
        if frame.page:
            numbers.setdefault(frame.page, []).append(number)
    with open(database, "rb") as pages, open(f"{database}-wal", "rb") as file:
        for page, versions in numbers.items():
            content = _read(pages, (page - 1) * log.page_size, log.page_size)
            same = [log.frames[n - 1].sound and _read(file, log.page_at(n), log.page_size) == content for n in versions]
            low, high = _range(log, versions, same)
            least, most = max(least, low), min(most, high)
    return least, most


def _range(log: Log, versions: list[int], same: list[bool]) -> Sum:
    """The same for one page: which of its frames, numbered in `versions`, are the `same` as in the database."""
    if True in same:
        first = same.index(True)
        later = (number for number, equal in zip(versions[first:], same[first:], strict=True) if not equal)
        return versions[first], next(later, len(log.frames) + 1)
    if all(log.frames[number - 1].sound for number in versions):
        return 0, versions[0]
    return 0, len(log.frames) + 1  # the database may hold what the bad frame held


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)

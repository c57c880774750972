"""How contents travel, without sockets and files: a receiver requests ranges of blobs, a sender cuts messages of them.

The receiver wants contents in an order and requests them in that order, at most a window of bytes ahead of what has
come; the sender answers in the order of the requests. So each side knows the next byte: what comes again or out of
turn is dropped, what is lost is requested again, and a content can be hashed and written while it comes. The window
grows while that makes the transfer faster, so that the delay of the network does not bound it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from director.transfer.blobs import is_digest

PIECE = 256 * 1024  # bytes of contents in one message, at most
RANGES = 500  # in one message, at most
WINDOW, LARGEST_WINDOW = 4 << 20, 32 << 20  # bytes that are requested and have not come
FASTER = 1.25  # times the bytes a second of the fastest round so far, with which the window is doubled
END = 1 << 42  # bytes of a blob, at most

Range = tuple[str, int, int]  # sha256 of a blob, offset and length in bytes


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of one file: a blob, or a part of a blob in which small files are packed.

    Attributes:
        digest: its own sha256 in hex.
        size: in bytes.
        pack, pack_size, offset: the blob that it is packed in, "" when it is a blob itself, and where it begins there.
        extents, file_size: of a file with holes, offset and length of the parts that are in the blob, and its own size.
    """

    digest: str
    size: int
    pack: str = ""
    pack_size: int = 0
    offset: int = 0
    extents: tuple[tuple[int, int], ...] | None = None
    file_size: int = 0

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return self.size if self.extents is None else self.file_size

    @property
    def blob(self) -> tuple[str, int]:
        """Digest and size of the blob that has it."""
        return (self.pack, self.pack_size) if self.pack else (self.digest, self.size)


Part = tuple[Content, memoryview, bool]  # some bytes of a content, the next ones; whether they are its last


class Receiver:
    """Contents on their way, none of them empty.

    Args:
        window: bytes that may be requested and not have come, at first.
        largest: to which this may grow.

    Attributes:
        size: bytes of all contents.
        taken: bytes that have come.
    """

    def __init__(self, contents: Sequence[Content], window: int = WINDOW, largest: int = LARGEST_WINDOW) -> None:
        self._contents = contents
        self._window, self._largest = window, largest
        self.size = sum(content.size for content in contents)
        self.taken = self._asked = 0
        self._at = self._next = (0, 0)  # content and offset in it: of what comes next, and of what is requested next
        self._round = (0, 0, 0.0)  # bytes taken at its beginning and at its end, and when it began
        self._best = 0.0  # bytes a second of the fastest round

    @property
    def is_done(self) -> bool:
        """Whether all has come."""
        return self.taken == self.size

    def again(self) -> None:
        """All requests are lost: request again what has not come."""
        self._asked, self._next = self.taken, self._at

    def requests(self, now: float) -> list[Range]:
        """The ranges to request now, in their order; none while more than half of the window is under way."""
        under_way = self._asked - self.taken
        if under_way > self._window // 2:
            return []
        found: list[list[int]] = []
        names: list[str] = []
        room = self._window - under_way
        number, at = self._next
        while room > 0 and number < len(self._contents):
            content = self._contents[number]
            length = min(room, content.size - at)
            name, offset = content.blob[0], content.offset + at
            if names and names[-1] == name and sum(found[-1]) == offset:
                found[-1][1] += length
            elif len(names) == RANGES:
                break
            else:
                names.append(name)
                found.append([offset, length])
            room -= length
            self._asked += length
            number, at = (number + 1, 0) if at + length == content.size else (number, at + length)
        self._next = number, at
        if self.taken >= self._round[1]:
            self._round = self.taken, self._asked, now
        return [(name, offset, length) for name, (offset, length) in zip(names, found, strict=True)]

    def take(self, ranges: Sequence[Range], data: memoryview, now: float) -> Iterator[Part]:
        """The parts of contents in a message, to be used up at once; of ranges that are not the next ones, none."""
        start = 0
        for name, offset, length in ranges:
            piece = data[start : start + length]
            start += length
            while len(piece):
                number, at = self._at
                content = self._contents[number] if number < len(self._contents) else None
                if content is None or content.blob[0] != name or content.offset + at != offset:
                    break
                part, piece = piece[: content.size - at], piece[content.size - at :]
                offset += len(part)
                self.taken += len(part)
                last = at + len(part) == content.size
                self._at = (number + 1, 0) if last else (number, at + len(part))
                yield content, part, last
        if self._round[0] < self._round[1] <= self.taken:
            self._end_round(now)

    def _end_round(self, now: float) -> None:
        """All that was under way when the round began has come: a larger window helps if the last one did."""
        start, end, began = self._round
        self._round = (end, end, now)
        rate = (end - start) / max(now - began, 1e-6)
        if rate > FASTER * self._best:
            self._best, self._window = rate, min(2 * self._window, self._largest)


def cut(waiting: deque[Range]) -> list[Range]:
    """Take the ranges of the next message from the front: at least one, of at most `PIECE` bytes together.

    A large blob is cut at multiples of `PIECE`, so that messages are the same for all who request it.
    """
    found: list[Range] = []
    room = PIECE
    while waiting and len(found) < RANGES:
        name, offset, length = waiting[0]
        part = min(length, PIECE - offset % PIECE)
        if part > room:
            break
        waiting.popleft()
        found.append((name, offset, part))
        room -= part
        if part < length:
            waiting.appendleft((name, offset + part, length - part))
    return found


def is_range(row: object) -> bool:
    """Whether a row that another machine sent is a range."""
    if not (isinstance(row, list) and len(row) == 3 and is_digest(row[0])):
        return False
    offset, length = row[1:]
    return isinstance(offset, int) and isinstance(length, int) and 0 <= offset <= END and 0 < length <= END

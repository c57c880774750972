"""The output of a process, bounded: keeps its beginning and its end, counts the bytes between."""

from __future__ import annotations

import os
from collections.abc import Collection

from director.process.masking import Masked

READ = 65536  # the usual capacity of a pipe
DRAINS = 32  # reads after the end; a `--no-block` process may write for ever


class Output:
    """A stream of which at most `cap` bytes are kept.

    Args:
        mask: values that are masked before anything is kept; the longest first.
    """

    __slots__ = ("_head", "_head_size", "_masked", "_tail", "_tail_size", "total")

    def __init__(self, cap: int, mask: Collection[bytes] = ()) -> None:
        self._masked = Masked(mask) if mask else None
        self._head_size = (cap + 1) // 2
        self._tail_size = cap // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, data: bytes) -> None:
        """Add what was read; memory stays below twice the cap."""
        self._keep(data if self._masked is None else self._masked.feed(data))

    def end(self) -> None:
        """Nothing more comes."""
        if self._masked is not None:
            self._keep(self._masked.end())

    def _keep(self, data: bytes) -> None:
        self.total += len(data)
        room = self._head_size - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail += data
            if len(self._tail) > 2 * self._tail_size:
                self._trim()

    def _trim(self) -> None:
        del self._tail[: len(self._tail) - self._tail_size]

    def value(self) -> bytes:
        """The kept bytes, beginning and end joined."""
        if len(self._tail) > self._tail_size:
            self._trim()
        return bytes(self._head + self._tail)

    def since(self, offset: int, most: int) -> tuple[int, bytes]:
        """At most so many of the kept bytes from this offset of the stream on, and the offset at which they begin."""
        if offset < len(self._head):
            return offset, bytes(self._head[offset : offset + most])
        first = self.total - len(self._tail)
        start = max(0, offset - first)
        return first + start, bytes(self._tail[start : start + most])

    @property
    def left_out(self) -> int:
        """Bytes that `value()` does not hold."""
        return self.total - len(self._head) - min(len(self._tail), self._tail_size)


def read_some(fd: int) -> bytes | None:
    """At most `READ` bytes of a non-blocking pipe; b"" at its end, None when it is empty now."""
    try:
        return os.read(fd, READ)
    except BlockingIOError:
        return None


def drain(fd: int, output: Output) -> None:
    """Read the rest of a pipe after its process has ended."""
    for _ in range(DRAINS):
        data = read_some(fd)
        if data:
            output.add(data)
        if data is None or len(data) < READ:
            return

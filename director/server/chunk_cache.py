"""The chunks of open jobs, kept in memory up to a bound and read from the ledger beyond it."""

from __future__ import annotations

from collections import OrderedDict

from director.server.ledger_client import LedgerClient

LIMIT = 64 * 1024 * 1024  # bytes


class ChunkCache:
    """Chunks by job and number; the least recently used one is dropped first."""

    def __init__(self, ledger: LedgerClient) -> None:
        self._ledger = ledger
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._numbers: dict[str, set[int]] = {}
        self._size = 0

    def keep(self, job: str, chunks: list[bytes]) -> None:
        """Keep all chunks of a new job, which are not on disk yet."""
        for number, chunk in enumerate(chunks):
            self._put(job, number, chunk)

    def get(self, job: str, number: int) -> bytes:
        """One chunk. DirectorError when it must be read and the ledger process does not answer."""
        chunk = self._kept.get((job, number))
        if chunk is None:
            chunk = self._ledger.ask("chunk", job=job, n=number)
            self._put(job, number, chunk)
        else:
            self._kept.move_to_end((job, number))
        return chunk

    def forget(self, job: str) -> None:
        """The job is over."""
        for number in self._numbers.pop(job, ()):
            self._size -= len(self._kept.pop((job, number), b""))

    def _put(self, job: str, number: int, chunk: bytes) -> None:
        self._kept[job, number] = chunk
        self._numbers.setdefault(job, set()).add(number)
        self._size += len(chunk)
        while self._size > LIMIT and len(self._kept) > 1:
            (old, n), dropped = self._kept.popitem(last=False)
            self._numbers.get(old, set()).discard(n)
            self._size -= len(dropped)

"""Packs small files into blobs, so that neither disk nor network pays for each of them."""

from __future__ import annotations

import hashlib

from director.transfer.blobs import BlobStore
from director.transfer.sources import SMALL  # noqa: F401 - bytes of a file that is packed, at most

FULL = 64 * 1024  # bytes of a pack

Place = tuple[str, tuple[str, int] | None, int]  # sha256 of the file; of its pack sha256 and size; its offset there


class Packer:
    """Packs of one source; a content that comes twice is kept once. A pack of one file is a plain blob.

    Args:
        blobs: gets the packs; `close` raises StoreError when the disk is full.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._known: dict[str, tuple[int, int]] = {}
        self._added: list[str] = []
        self._packs: list[list[memoryview]] = []
        self._size = FULL

    def add(self, data: memoryview) -> None:
        """The next file, of at most `SMALL` bytes."""
        digest = hashlib.sha256(data).hexdigest()
        self._added.append(digest)
        if digest in self._known:
            return
        if self._size + len(data) > FULL:
            self._packs.append([])
            self._size = 0
        self._known[digest] = (len(self._packs) - 1, self._size)
        self._packs[-1].append(data)
        self._size += len(data)

    def close(self) -> list[Place]:
        """Keep the packs; where each file is, in the order in which they were added."""
        kept = [(*self._blobs.put_bytes(b"".join(parts)), len(parts) > 1) for parts in self._packs]
        places: list[Place] = []
        for digest in self._added:
            number, offset = self._known[digest]
            pack, size, several = kept[number]
            places.append((digest, (pack, size) if several else None, offset))
        return places

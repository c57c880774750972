"""Lists of blobs, which are blobs themselves, so that no message has all digests of a job with many files.

A job names its blobs by digest. One with many blobs names them by `list:DIGEST`: the blob with that digest is the raw
digests of the others, sorted, one after another.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache

from director.errors import StoreError
from director.transfer.blobs import BlobStore

PREFIX = "list:"
NAMED = 1000  # the most blobs that a job names one by one
_SIZE = 32  # bytes of a sha256


def shortened(needed: Mapping[str, int], by_name: Collection[str], blobs: BlobStore) -> dict[str, int]:
    """`needed` (digest to size in bytes); when there are many, only those in `by_name` and a list of all.

    Raises StoreError when the list cannot be kept.
    """
    if len(needed) <= NAMED:
        return dict(needed)
    digest, size = blobs.put_bytes(b"".join(sorted(bytes.fromhex(one) for one in needed)))
    return {**{one: needed[one] for one in needed if one in by_name}, PREFIX + digest: size}


def is_list(name: str) -> bool:
    """Whether a name of a job's blobs is that of a list."""
    return name.startswith(PREFIX)


def named(names: Collection[str], digest: str, blobs: BlobStore) -> bool:
    """Whether a job with these names needs this blob.

    Raises OSError when a list cannot be read, StoreError when it is no list.
    """
    if digest in names:
        return True
    wanted = bytes.fromhex(digest)
    return any(_has(_read(blobs.path(name.removeprefix(PREFIX))), wanted) for name in names if is_list(name))


def expanded(names: Iterable[str], blobs: BlobStore) -> Iterator[str]:
    """Every digest that the names stand for, those of the lists included.

    Raises OSError when a list cannot be read, StoreError when it is no list.
    """
    for name in names:
        digest = name.removeprefix(PREFIX)
        yield digest
        if is_list(name):
            raw = _read(blobs.path(digest))
            yield from (raw[at : at + _SIZE].hex() for at in range(0, len(raw), _SIZE))


@lru_cache(16)
def _read(path: str) -> mmap.mmap:
    with open(path, "rb") as file:
        raw = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if len(raw) % _SIZE:
        raise StoreError(f"{path} is no list of blobs")
    return raw


def _has(raw: mmap.mmap, wanted: bytes) -> bool:
    low, high = 0, len(raw) // _SIZE
    while low < high:
        middle = (low + high) // 2
        found = raw[middle * _SIZE : (middle + 1) * _SIZE]
        if found == wanted:
            return True
        low, high = (middle + 1, high) if found < wanted else (low, middle)
    return False

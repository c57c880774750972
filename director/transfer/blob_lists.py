"""Lists of blobs, which are blobs themselves, so that no message has all digests of a job with many files.

A chunk of a job names its blobs by digest. In a job with many blobs `list:DIGEST` names those of a chunk: the blob with
that digest is the raw digests of the others, sorted, one after another. Where the sources of a step differ from node
to node, `sets:DIGEST` names a blob of rows of the same size, sorted too: the digest of each node's name with the number
of its set in place of the last bytes, and for each content of a set the digest of that number and the content's digest.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from director.errors import StoreError
from director.transfer.blobs import BlobStore

PREFIX, SETS = "list:", "sets:"
NAMED = 1000  # the most blobs that a job names one by one
_SIZE = 32  # bytes of a sha256
_NUMBER = 4  # bytes of the number of a set


def shortened(
    needed: Mapping[str, int], by_name: Collection[str], blobs: BlobStore, most: int = NAMED
) -> dict[str, int]:
    """`needed` (name to size in bytes); of more than `most` only those in `by_name`, and a list of all digests.

    Raises StoreError when the list cannot be kept.
    """
    digests = [name for name in needed if not is_list(name)]
    if len(digests) <= max(1, most):
        return dict(needed)
    digest, size = blobs.put_bytes(b"".join(sorted(map(bytes.fromhex, digests))))
    return {**{one: needed[one] for one in needed if one in by_name or is_list(one)}, PREFIX + digest: size}


def of_sets(members: Mapping[str, int], sets: Sequence[Collection[str]], blobs: BlobStore) -> tuple[str, int]:
    """The name and size in bytes of the list that has the set of each node, and the digests of each set.

    Raises StoreError when the list cannot be kept.
    """
    rows = [_node(name) + _number(number) for name, number in members.items()]
    rows += [_of_set(_number(number), bytes.fromhex(one)) for number, digests in enumerate(sets) for one in digests]
    digest, size = blobs.put_bytes(b"".join(sorted(rows)))
    return SETS + digest, size


def is_list(name: str) -> bool:
    """Whether a name of a job's blobs is that of a list."""
    return ":" in name


def named(names: Collection[str], digest: str, blobs: BlobStore, node: str = "") -> bool:
    """Whether one of these names stands for this blob: for every node, or in the set of `node`.

    Raises OSError when a list cannot be read, StoreError when it is no list.
    """
    if digest in names:
        return True
    wanted = bytes.fromhex(digest)
    return any(_lists(name, wanted, blobs, node) for name in names if is_list(name))


def set_of(name: str, node: str, blobs: BlobStore) -> int:
    """The number of the node's set in a list of sets, -1 for none. Raises as `named`."""
    key = _node(node)
    found = _first(_read(_path(name, blobs)), key)
    return int.from_bytes(found[-_NUMBER:], "big") if found[:-_NUMBER] == key else -1


def expanded(names: Iterable[str], blobs: BlobStore) -> Iterator[str]:
    """Every digest that the names stand for, those of the lists included; the contents of sets are named elsewhere.

    Raises OSError when a list cannot be read, StoreError when it is no list.
    """
    for name in names:
        yield name.rpartition(":")[2]
        if name.startswith(PREFIX):
            raw = _read(_path(name, blobs))
            yield from (raw[at : at + _SIZE].hex() for at in range(0, len(raw), _SIZE))


@lru_cache(16)
def _read(path: str) -> mmap.mmap:
    with open(path, "rb") as file:
        raw = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if len(raw) % _SIZE:
        raise StoreError(f"{path} is no list of blobs")
    return raw


def _lists(name: str, wanted: bytes, blobs: BlobStore, node: str) -> bool:
    if name.startswith(SETS):
        number = set_of(name, node, blobs)
        if number < 0:
            return False
        wanted = _of_set(_number(number), wanted)
    return _first(_read(_path(name, blobs)), wanted) == wanted


def _path(name: str, blobs: BlobStore) -> str:
    return blobs.path(name.rpartition(":")[2])


def _number(number: int) -> bytes:
    return number.to_bytes(_NUMBER, "big")


def _node(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:-_NUMBER]


def _of_set(number: bytes, digest: bytes) -> bytes:
    return hashlib.sha256(number + digest).digest()


def _first(raw: mmap.mmap, wanted: bytes) -> bytes:
    """The first row that is not below `wanted`, b"" when all are."""
    low, high = 0, len(raw) // _SIZE
    while low < high:
        middle = (low + high) // 2
        if raw[middle * _SIZE : (middle + 1) * _SIZE] < wanted:
            low = middle + 1
        else:
            high = middle
    return raw[low * _SIZE : (low + 1) * _SIZE]

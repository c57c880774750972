"""What each node needs to look at its own steps of a plan: the steps, and the contents that they compare with."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import ujson

from director.runtime.greenlets import breathe
from director.scheduler.blocks import nodes_of
from director.scheduler.chunks import Chunks
from director.transfer.blob_lists import is_list
from director.transfer.blobs import BlobStore
from director.transfer.manifests import contents as sizes_of
from director.verbs import VERBS, load

log = logging.getLogger(__name__)

CONTENT_LIMIT = 64 * 1024  # bytes of a blob that is sent with the question
CONTENTS_LIMIT = 4 * 1024 * 1024  # bytes of all these blobs that nodes share
OWN_LIMIT = 16 * 1024 * 1024  # bytes of all these blobs that nodes have for themselves
CONTENTS = 900  # blobs that nodes share, and that one node has for itself
Sizes = dict[str, int]  # sha256 to size in bytes


@dataclass(slots=True)
class Part:
    """What some nodes are sent, which have the same chunks.

    Attributes:
        steps: the encoded steps, one JSON list.
        names: what their QUERY steps read.
        contents: sha256 to bytes.
    """

    steps: bytes
    names: set[str]
    contents: dict[str, bytes]

    def may_set(self, name: str) -> bool:
        """Whether one of the steps may set an ARG of this name: its text has it, or it can set any."""
        return any(text in self.steps for text in (ujson.dumps(name)[1:-1].encode(), b'"own":', *_set_any()))


@dataclass(slots=True)
class _Chunk:
    """One chunk.

    Attributes:
        contents: of its steps that are the same on every node.
        manifests: those that are lists of files.
        own: of each step whose sources differ: the number of each node's set, and the contents of each set.
    """

    body: bytes
    names: set[str] = field(default_factory=set)
    contents: Sizes = field(default_factory=dict)
    manifests: set[str] = field(default_factory=set)
    own: list[tuple[Mapping[str, int], list[Sizes]]] = field(default_factory=list)


class Parts:
    """The parts of one plan.

    Args:
        meta: of the plan.
        chunks: its encoded steps.
        blobs: of the server.

    Attributes:
        meta: of the plan.
        ranges: for each node the ranges of its steps, as `[first, last]`.
        names: what all QUERY steps read.
    """

    def __init__(self, meta: Mapping[str, Any], chunks: Sequence[bytes], blobs: BlobStore) -> None:
        self.meta, self.ranges = meta, parts_of(meta)
        self._blobs = blobs
        self._table = Chunks(meta["chunks"], meta["step_count"])
        self._chunks: dict[int, _Chunk] = {}  # by first step
        self._parts: dict[tuple[int, ...], Part] = {}
        self._left = OWN_LIMIT
        self._lists: set[str] = set()  # of files of one set
        exchange = meta.get("exchange", {})
        queries = frozenset(int(step) for step, spec in exchange.items() if spec["kind"] == "query")
        for row, body in zip(meta["chunks"], chunks, strict=True):
            self._chunks[row["first"]] = self._read(body, row["contents"], queries)
            breathe()
        self.names = {name for chunk in self._chunks.values() for name in chunk.names}

    def of(self, node: str) -> Part:
        """What is sent to the node; what it has for itself comes with `own`."""
        firsts: list[int] = []
        for first, last in self.ranges[node]:
            step = first
            while step <= last:
                firsts.append(self._table.first(step))
                step = self._table.end(step)
        key = tuple(dict.fromkeys(firsts))
        if key not in self._parts:
            chunks = [self._chunks[first] for first in key]
            sizes = {digest: size for chunk in chunks for digest, size in chunk.contents.items()}
            manifests = {digest for chunk in chunks for digest in chunk.manifests}
            self._parts[key] = Part(
                b"[%s]" % b",".join(chunk.body[1:-1] for chunk in chunks),
                {name for chunk in chunks for name in chunk.names},
                self._contents(sizes, manifests, CONTENTS_LIMIT),
            )
        return self._parts[key]

    def own(self, node: str) -> dict[str, bytes]:
        """The contents of the steps whose sources differ from node to node, for this one: sha256 to bytes."""
        sizes: Sizes = {}
        for chunk in self._chunks.values():
            for members, sets in chunk.own:
                if node in members:
                    sizes.update(sets[members[node]])
        found = self._contents(sizes, self._lists, self._left)
        self._left -= sum(map(len, found.values()))
        return found

    def _read(self, body: bytes, contents: Sizes, queries: frozenset[int]) -> _Chunk:
        chunk = _Chunk(body, contents={name: size for name, size in contents.items() if not is_list(name)})
        for step in ujson.loads(body):
            if step["i"] in queries:
                chunk.names.add(step["body"]["name"])
            per_node = step["body"].get("per_node") or {}
            chunk.manifests.update(
                place["manifest"]["digest"] for place in (step["body"], per_node) if "manifest" in place
            )
            if per_node.get("sets"):
                members = per_node.get("of") or self._members(per_node["manifest"]["digest"])
                chunk.own.append((members, [self._sizes(one["manifest"]) for one in per_node["sets"]]))
        return chunk

    def _sizes(self, manifest: Mapping[str, Any]) -> Sizes:
        """The contents of one set of sources, and the list of them; of a long list only that."""
        digest, size = manifest["digest"], manifest["size"]
        rows = ujson.loads(self._bytes(digest) or b"[]") if size <= CONTENT_LIMIT else ()
        self._lists.add(digest)
        return {digest: size, **sizes_of(rows)}

    def _members(self, digest: str) -> Mapping[str, int]:
        members: Mapping[str, int] = ujson.loads(self._bytes(digest) or b"{}")
        return members

    def _contents(self, sizes: Sizes, manifests: Iterable[str], left: int) -> dict[str, bytes]:
        """The manifests and small blobs that nodes need to compare files, by digest; at most `left` bytes."""
        found: dict[str, bytes] = {}
        for digest in sorted(sizes, key=lambda one: (one not in manifests, sizes[one])):
            size = sizes[digest]
            if size > left or (size > CONTENT_LIMIT and digest not in manifests):
                continue
            if len(found) >= CONTENTS:
                break
            data = self._bytes(digest)
            if data is not None:
                found[digest] = data
                left -= size
        return found

    def _bytes(self, digest: str) -> bytes | None:
        try:
            with open(self._blobs.path(digest), "rb") as file:
                return file.read()
        except OSError as error:
            log.warning("a blob of a plan cannot be read: %s", error)
            return None


@cache
def _set_any() -> tuple[bytes, ...]:
    """How steps of the verbs begin that set ARGs of any name."""
    return tuple(b'"verb":"%s"' % name.encode() for name in VERBS if load(name).sets == "other")


def parts_of(meta: Mapping[str, Any]) -> dict[str, list[list[int]]]:
    """For each node the ranges of its steps, as `[first, last]`."""
    parts: dict[str, list[list[int]]] = {}
    for block in meta["blocks"]:
        for name in nodes_of(meta, block):
            parts.setdefault(name, []).append([block["first"], block["last"]])
    return parts


def steps_of(chunks: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    """The decoded steps; other greenlets get a turn after each chunk."""
    for chunk in chunks:
        yield from ujson.loads(chunk)
        breathe()

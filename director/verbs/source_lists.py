"""The sources of a file step: in its body when they are few, else in a blob."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from director.errors import VerbError
from director.transfer.manifests import OWN_BYTES_LIMIT, Row, data_size
from director.transfer.pieces import Content
from director.verbs.base import Node, Planning

INLINE_BYTES = 16 * 1024  # the most bytes of rows in a step


def rows_for(rows: Sequence[Row], planning: Planning) -> dict[str, Any]:
    """`{"sources": rows}`, or `{"manifest": {"digest", "size"}}` when there are many."""
    text = json.dumps(rows)
    return {"sources": list(rows)} if len(text) <= INLINE_BYTES else {"manifest": kept(text, planning)}


def per_node(sets: Sequence[Mapping[str, Any]], members: Mapping[str, int], planning: Planning) -> dict[str, Any]:
    """`per_node`: the different sets of sources, and the number of the set that each node takes.

    The files of a set are always in a blob: every node has the step, and only those that take the set get the blob.
    """
    found = [_short(one, planning) for one in sets]
    text = json.dumps(members)
    of = {"of": dict(members)} if len(text) <= INLINE_BYTES else {"manifest": kept(text, planning)}
    return {"per_node": {"sets": found, **of}}


def _short(sources: Mapping[str, Any], planning: Planning) -> Mapping[str, Any]:
    """A set of sources with its rows in a blob; patterns of a COPY --from stay, as the server needs them."""
    return {"manifest": kept(json.dumps(sources["sources"]), planning)} if "sources" in sources else sources


def kept(text: str, planning: Planning) -> dict[str, Any]:
    """Keep a JSON text as a blob that the step needs; its digest and size."""
    entry = planning.content(text.encode())
    return {"digest": entry.digest, "size": entry.size}


def rows_of(body: Mapping[str, Any], node: Node, most: int = OWN_BYTES_LIMIT) -> Any:
    """The rows for this node, of the body or of a blob of at most so many bytes; they are not checked."""
    if "per_node" in body:
        body = body["per_node"]["sets"][set_of(body, node)]
    if "manifest" in body:
        return _load(body["manifest"], node, most)
    return body.get("sources", [])


def contents_of(rows: Iterable[Row]) -> Iterator[tuple[Row, Content]]:
    """Each row, and what it holds if it is a file; small files are in the pack of the last such row before them."""
    pack, size = "", 0
    for row in rows:
        if row[0] == "pack":
            pack, size = row[4], row[3]
        else:
            more = row[7] if len(row) > 7 else None
            if isinstance(more, list):
                extents = tuple((offset, length) for offset, length in more)
                yield row, Content(row[4], data_size(row), extents=extents, file_size=row[3])
            else:
                yield row, Content(row[4], row[3], *(() if more is None else (pack, size, more)))


def set_of(body: Mapping[str, Any], node: Node) -> int:
    """The number of the set of sources that this node takes."""
    several = body.get("per_node")
    if several is None:
        return 0
    members = several["of"] if "of" in several else _load(several["manifest"], node)
    return int(members[node.name])


def _load(manifest: Mapping[str, Any], node: Node, most: int = OWN_BYTES_LIMIT) -> Any:
    if manifest["size"] > most:
        raise VerbError(f"a list of files has more than {most >> 20} MiB; copy an archive of them")
    with open(node.blob(manifest["digest"], manifest["size"]), "rb") as file:
        return json.load(file)

"""The sources of a file step as they travel: in the step itself, or as a content of their own when they are many."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from director.verbs.base import Node, Planning

#: kind (`file`, `dir`, `link`, `tar`), path, mode, size, digest, target, name; as `Entry`
Row = list[Any]

INLINE_BYTES = 16 * 1024  # of rows in a step at most


def rows_for(rows: Sequence[Row], planning: Planning) -> dict[str, Any]:
    """`sources`, or `manifest` {digest, size}."""
    text = json.dumps(rows)
    return {"sources": list(rows)} if len(text) <= INLINE_BYTES else {"manifest": kept(text, planning)}


def per_node(sets: Sequence[Mapping[str, Any]], members: Mapping[str, int], planning: Planning) -> dict[str, Any]:
    """`per_node`: the sets of sources, and which of them each node takes."""
    found = list(sets)
    if len(json.dumps(found)) > INLINE_BYTES:
        found = [_short(one, planning) for one in found]
    text = json.dumps(members)
    of = {"of": dict(members)} if len(text) <= INLINE_BYTES else {"manifest": kept(text, planning)}
    return {"per_node": {"sets": found, **of}}


def _short(sources: Mapping[str, Any], planning: Planning) -> Mapping[str, Any]:
    """A set of sources with its rows as a content; patterns of a COPY --from are for the server and stay."""
    return {"manifest": kept(json.dumps(sources["sources"]), planning)} if "sources" in sources else sources


def kept(text: str, planning: Planning) -> dict[str, Any]:
    """A JSON text as a content that the step needs."""
    entry = planning.content(text.encode())
    return {"digest": entry.digest, "size": entry.size}


def rows_of(body: Mapping[str, Any], node: Node) -> list[Row]:
    """The rows for this node, fetched when they do not lie in the step."""
    if "per_node" in body:
        body = body["per_node"]["sets"][set_of(body, node)]
    if "manifest" in body:
        rows: list[Row] = _load(body["manifest"], node)
        return rows
    return list(body.get("sources", ()))


def set_of(body: Mapping[str, Any], node: Node) -> int:
    """Which of several sets of sources this node takes."""
    several = body.get("per_node")
    if several is None:
        return 0
    members = several["of"] if "of" in several else _load(several["manifest"], node)
    return int(members[node.name])


def _load(manifest: Mapping[str, Any], node: Node) -> Any:
    with open(node.blob(manifest["digest"], manifest["size"]), "rb") as file:
        return json.load(file)

"""The sources of a file step as they travel: in the step itself, or as a content of their own when they are many."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from director.verbs.base import Node, Planning

#: kind (`file`, `dir`, `link`, `tar`), path, mode, size, digest, target, name; as `Entry`
Row = list[Any]

INLINE = 1000  # rows in a step at most


def rows_for(rows: Sequence[Row], planning: Planning) -> dict[str, Any]:
    """`sources`, or `manifest` {digest, size}."""
    if len(rows) <= INLINE:
        return {"sources": list(rows)}
    return {"manifest": kept(rows, planning)}


def per_node(sets: Sequence[Mapping[str, Any]], members: Mapping[str, int], planning: Planning) -> dict[str, Any]:
    """`per_node`: the sets of sources, and which of them each node takes."""
    if len(members) <= INLINE:
        return {"per_node": {"sets": list(sets), "of": dict(members)}}
    return {"per_node": {"sets": list(sets), "manifest": kept(members, planning)}}


def kept(value: Any, planning: Planning) -> dict[str, Any]:
    """A JSON value as a content that the step needs."""
    entry = planning.content(json.dumps(value).encode())
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

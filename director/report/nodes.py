"""A node as `--node-info` shows it."""

from __future__ import annotations

from director.report.columns import NODE_COLUMNS, Column
from director.report.tables import aligned
from director.report.text import cell, moment, pairs, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

_SHOWN: dict[str, Callable[[Any], str]] = {
    "labels": pairs,
    "last_seen": moment,
    "agent_uptime": seconds,
    "host_uptime": seconds,
}


def render_node(node: Mapping[str, Any], format: str, header: bool = True) -> Iterator[str]:
    """The answer of `--node-info`."""
    if format == "table":
        return _info(node)
    from director.report.formats import object_as, rows_as

    if format in ("json", "yaml"):
        return object_as(format, node)
    return rows_as(format, [node], (*NODE_COLUMNS, Column("", "facts"), Column("", "args")), header)


def _info(node: Mapping[str, Any]) -> Iterator[str]:
    """A line for each field; facts and ARGs have blocks of their own, with dots in nested names."""
    plain = {name: value for name, value in node.items() if name not in ("facts", "args")}
    yield from aligned([[name, cell(_SHOWN.get(name, _text)(value))] for name, value in plain.items()])
    for block in ("facts", "args"):
        rows = [[cell(name), cell(value)] for name, value in _flat(node.get(block) or {}, "")]
        if rows:
            yield f"\n{block}\n"
            yield from aligned(rows, "  ")


def _flat(mapping: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in mapping.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or value == {} else str(value)

"""A node as `--node-info` shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from director import Any
from director.report.tables import NODE_FIELDS, SHOWN, aligned
from director.report.text import cell


def render_node(node: Mapping[str, Any], format: str, header: bool = True) -> Iterator[str]:
    """The answer of `--node-info`."""
    if format == "table":
        return _info(node)
    from director.report.formats import values_as

    return values_as(format, [node], [node], (*NODE_FIELDS, "facts", "args"), header)


def _info(node: Mapping[str, Any]) -> Iterator[str]:
    """A line for each field; facts and ARGs have blocks of their own, with dots in nested names."""
    plain = {name: value for name, value in node.items() if name not in ("facts", "args")}
    yield from aligned([[name, cell(SHOWN.get(name, _text)(value))] for name, value in plain.items()])
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

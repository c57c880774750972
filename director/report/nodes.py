"""Nodes as `--list-nodes` folds them, and one node as `--node-info` shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from director import Any
from director.report.screen import PLAIN, Screen
from director.report.tables import NODE_COLUMNS, NODE_FIELDS, SHOWN, aligned, render_list
from director.report.text import ago, cell, memory, moment, pairs

Node = Mapping[str, Any]

_BESIDES = 3  # lines of the screen beside the rows: the heading, and the prompts before and after
_FOLDED = ("COUNT", "STATE", "VERSION", "LABELS", "NODES", "REASON")
_BY_FACT = ("VALUE", "COUNT", "NODES")
_BYTES = (".total", ".available", ".free", ".used")  # how the names of facts end that are bytes


def render_nodes(
    nodes: Iterable[Node],
    format: str,
    header: bool = True,
    screen: Screen = PLAIN,
    per_node: bool | None = None,
    fact: str | None = None,
) -> Iterator[str]:
    """The answer of `--list-nodes`.

    Args:
        screen: what a table is shown on; one with more rows than the terminal has lines is folded.
        per_node: a row for each node, or never; None decides by the screen.
        fact: a table groups the nodes by their field `fact`, the value of the fact with this name.
    """
    if format != "table":
        return render_list(nodes, NODE_COLUMNS, format, header, (*NODE_FIELDS, *(("fact",) if fact else ())))
    rows = list(nodes)
    if fact and not per_node:
        return _groups(rows, lambda node: (_fact(fact, node.get("fact")),), _BY_FACT, header, screen)
    if per_node is None:
        per_node = not screen.height or len(rows) <= screen.height - _BESIDES
    if per_node:
        columns = {**NODE_COLUMNS, "VALUE": "fact"} if fact else NODE_COLUMNS
        return render_list(rows, columns, "table", header, screen=screen)
    return _groups(rows, _state, _FOLDED, header, screen)


def _state(node: Node) -> tuple[str, ...]:
    return str(node["state"]), cell(node.get("version")), cell(pairs(node.get("labels"))), cell(node.get("reason"))


def _fact(name: str, value: Any) -> str:
    return memory(value) if name.endswith(_BYTES) and isinstance(value, (int, float)) else cell(_text(value))


def _groups(
    nodes: Iterable[Node], key: Callable[[Node], tuple[str, ...]], titles: Sequence[str], header: bool, screen: Screen
) -> Iterator[str]:
    """A row for each group of nodes with one key, the largest first."""
    from director.node_sets import fold

    groups: dict[tuple[str, ...], list[str]] = {}
    for node in nodes:
        groups.setdefault(key(node), []).append(str(node["id"]))
    rows = [list(titles)] if header else []
    for found, names in sorted(groups.items(), key=lambda group: -len(group[1])):
        cells = dict(zip([title for title in titles if title not in ("COUNT", "NODES")], found, strict=True))
        cells |= {"COUNT": str(len(names)), "NODES": cell(fold(names))}
        rows.append([cells[title] for title in titles])
    return aligned(rows, "", screen, titles)


def render_node(node: Node, format: str, header: bool = True, screen: Screen = PLAIN) -> Iterator[str]:
    """The answer of `--node-info`."""
    if format == "table":
        return _info(node, screen)
    from director.report.formats import values_as

    return values_as(format, [node], [node], (*NODE_FIELDS, "facts", "args"), header)


def _info(node: Node, screen: Screen) -> Iterator[str]:
    """A line for each field; facts and ARGs have blocks of their own, with dots in nested names."""
    plain = {name: value for name, value in node.items() if name not in ("facts", "args")}
    yield from aligned([[name, _field(name, value, screen)] for name, value in plain.items()])
    for block in ("facts", "args"):
        found = _flat(node.get(block) or {}, "")
        human = block == "facts" and screen.now
        rows = [[cell(name), _fact(name, value) if human else cell(_text(value))] for name, value in found]
        if rows:
            yield f"\n{block}\n"
            yield from aligned(rows, "  ")


def _field(name: str, value: Any, screen: Screen) -> str:
    show = SHOWN.get(name, _text)
    more = f" ({ago(value, screen.now)})" if screen.now and show is moment and value else ""
    return cell(show(value)) + more


def _flat(mapping: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in mapping.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or value == {} else str(value)

"""Plans as `--plan` shows them: the stages with their nodes, then what each step would do where and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from director import Any
from director.node_sets import fold
from director.report.jobs import step_head
from director.report.text import cell, safe

SHOWN = 3  # texts or diffs of one step that a table shows
FIELDS = ("step", "verb", "text", "stage", "node", "action", "reason", "number")  # of CSV


def render_plans(
    plans: Sequence[Mapping[str, Any]], names: Sequence[str], format: str, header: bool = True
) -> Iterator[str]:
    """The answer of `--plan`; a table leaves out the warnings, which are for stderr.

    Args:
        names: the files of the plans, for a table of more than one.
        format: as for `render_list`; JSON and YAML of exactly one plan are an object, else a list.
    """
    if format == "table":
        return _tables(plans, names)
    from director.report.formats import values_as

    return values_as(format, plans, (row for plan in plans for row in _rows(plan)), FIELDS, header)


def _tables(plans: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Iterator[str]:
    for number, plan in enumerate(plans):
        if len(plans) > 1:
            yield f"=== {names[number]}\n"
        yield from _table(plan)


def _table(plan: Mapping[str, Any]) -> Iterator[str]:
    for number, stage in enumerate(plan.get("stages") or []):
        yield f"stage {cell(stage.get('name') or number)}: {fold(stage['nodes']) or 'no node'}\n"
        for text in stage.get("unmatched") or []:
            yield f"  without {cell(text)}\n" if ": " in text else f"  matches nothing: {cell(text)}\n"
    for step in plan.get("steps") or []:
        yield f"{step_head(step)}\n"
        for (action, reason), nodes in _grouped(step.get("nodes") or [], "action", "reason").items():
            because = f": {cell(reason)}" if reason else ""
            yield f"  {cell(action)}  {cell(fold(map(_name, nodes)))}{because}\n"
            yield from _details(nodes)


def _details(nodes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The texts and diffs of these nodes, equal ones once."""
    groups = {key: found for key, found in _grouped(nodes, "rendered", "diff").items() if any(key)}
    for (text, diff), found in list(groups.items())[:SHOWN]:
        name = f"{cell(fold(map(_name, found)))}: " if len(found) < len(nodes) else ""
        if text:
            yield f"    {name}{cell(text)}\n"
        elif name:
            yield f"    {name.rstrip(' ')}\n"
        for line in diff.splitlines():
            yield f"    {safe(line)}\n"
    if len(groups) > SHOWN:
        yield f"    and {len(groups) - SHOWN} more that differ; --output json has them all\n"


def _grouped(nodes: Iterable[Mapping[str, Any]], *keys: str) -> dict[tuple[str, ...], list[Mapping[str, Any]]]:
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for node in nodes:
        groups.setdefault(tuple(node.get(key) or "" for key in keys), []).append(node)
    return groups


def _name(node: Mapping[str, Any]) -> str:
    return str(node["node"])


def _rows(plan: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each step and node."""
    for step in plan.get("steps") or []:
        head = {
            "step": step["index"],
            "number": step["index"] + 1,
            **{name: step.get(name) for name in ("verb", "text", "stage")},
        }
        for node in step.get("nodes") or []:
            yield {**head, **node}

"""A plan for people: the stages with their nodes, then what each step would do where and why."""

from __future__ import annotations

from director.folding import fold
from director.report.jobs import step_head
from director.report.text import cell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


def info(plan: Mapping[str, Any]) -> Iterator[str]:
    """Lines of a plan; its warnings are for stderr and not here."""
    for number, stage in enumerate(plan.get("stages") or []):
        yield f"stage {cell(stage.get('name') or number)}: {fold(stage['nodes']) or 'no node'}\n"
        for text in stage.get("unmatched") or []:
            yield f"  matches nothing: {cell(text)}\n"
    for step in plan.get("steps") or []:
        yield f"{step_head(step)}\n"
        for (action, reason), nodes in _alike(step).items():
            because = f": {cell(reason)}" if reason else ""
            yield f"  {cell(action)}  {cell(fold(nodes))}{because}\n"


def _alike(step: Mapping[str, Any]) -> dict[tuple[str, str], list[str]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for node in step.get("nodes") or []:
        groups.setdefault((node.get("action") or "", node.get("reason") or ""), []).append(str(node["node"]))
    return groups


def rows(plan: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each step and node, for JSON lines and CSV."""
    for step in plan.get("steps") or []:
        head = {"step": step["index"], **{name: step.get(name) for name in ("verb", "text", "stage")}}
        for node in step.get("nodes") or []:
            yield {**head, **node}

"""Lines about the nodes that a call of `--wait` waits for."""

from __future__ import annotations

from collections.abc import Mapping

from director import Any
from director.node_sets import fold
from director.report.text import cell, moment


def waiting_lines(progress: Mapping[str, Any]) -> list[str]:
    """A line for each reason and end, those with the most nodes first.

    Args:
        progress: its `waiting` lists `node`, `why`, `since` and `until` (ISO 8601, epoch seconds or None); a line
            shows the earliest `since` of its nodes.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for item in progress.get("waiting") or []:
        groups.setdefault((str(item.get("why") or "unknown"), moment(item.get("until"))), []).append(item)
    order = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [_line(why, until, items) for (why, until), items in order]


def _line(why: str, until: str, items: list[Mapping[str, Any]]) -> str:
    names = fold(str(item.get("node")) for item in items)
    since = min((time for item in items if (time := moment(item.get("since")))), default="")
    why = cell(why).removesuffix(" since")
    return (
        f"waiting for {cell(names)}: {why}"
        + (f" since {cell(since)}" if since else "")
        + (f", until {cell(until)}" if until else "")
    )

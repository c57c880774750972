"""Listings: which fields of the server's rows they show, and how; and rows of texts as aligned columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from director import Any
from director.report.screen import GAP, PLAIN, Screen
from director.report.text import ago, cell, moment, pairs, seconds, width

FINAL_COUNTS = ("success", "cached", "failed", "timeout", "cancelled", "expired", "lost", "skipped")
COUNTS = ("total", "queued", "sent", "running", *FINAL_COUNTS)
_LOOSE = ("NAME", "ADDRESS", "LABELS", "REASON", "NODES", "BY", "VALUE", "TEXT", "KEY")  # columns that may be shortened

# the headings of a table, and the field in each column
JOB_COLUMNS = {
    "ID": "id",
    "STATE": "state",
    "NAME": "name",
    "DONE/TOTAL": "tasks",
    "CREATED": "created_at",
    "DURATION": "duration",
    "BY": "submitted_by",
}
NODE_COLUMNS = {
    "ID": "id",
    "STATE": "state",
    "ADDRESS": "address",
    "VERSION": "version",
    "LAST-SEEN": "last_seen",
    "LABELS": "labels",
    "REASON": "reason",
}
TOKEN_COLUMNS = {
    "ID": "id",
    "STATE": "state",
    "USED": "used",
    "OF": "max_nodes",
    "NODES": "nodes",
    "LABELS": "labels",
    "REUSABLE": "reusable",
    "EXPIRES": "expires_at",
    "BY": "created_by",
}
# the fields of CSV, with dots for nested ones
JOB_FIELDS = (
    *("id", "state", "name", "created_at", "duration", "submitted_by"),
    *("kind", "final", "step_count", "node_count", "started_at", "finished_at"),
    *(f"tasks.{name}" for name in COUNTS),
)
NODE_FIELDS = (*NODE_COLUMNS.values(), "agent_uptime", "host_uptime", "key")
TOKEN_FIELDS = (*TOKEN_COLUMNS.values(), "created_at", "revoked_at")


def done_of_total(counts: Mapping[str, int] | None) -> str:
    """`38/40`: the final tasks of all."""
    counts = counts or {}
    return f"{sum(counts.get(name, 0) for name in FINAL_COUNTS)}/{counts.get('total', 0)}"


# how people see a field; one that is not here is shown as it is
SHOWN: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("created_at", "started_at", "finished_at", "last_seen", "expires_at"), moment),
    **dict.fromkeys(("duration", "execution_time", "agent_uptime", "host_uptime"), seconds),
    "labels": pairs,
    "max_nodes": lambda most: str(most or "any"),
    "nodes": lambda nodes: nodes or "any",
    "reusable": lambda reusable: "yes" if reusable else "no",
    "tasks": done_of_total,
    "was_final": lambda was_final: "was final already" if was_final else "ordered",
}


def shown(row: Mapping[str, Any], key: str, screen: Screen = PLAIN) -> str:
    """A field of a row as one cell; times are relative on a terminal."""
    value = row.get(key)
    if screen.now and SHOWN.get(key) is moment:
        return cell(ago(value, screen.now))
    return cell(SHOWN[key](value) if key in SHOWN else value)


def aligned(
    rows: Sequence[Sequence[str]], indent: str = "", screen: Screen = PLAIN, titles: Sequence[str] = ()
) -> Iterator[str]:
    """Lines of the rows; each column is as wide as its widest cell.

    Args:
        screen: shortens columns that it has no room for, and paints states.
        titles: the headings of the columns; those of states are painted, those of names and reasons may be shortened.
    """
    if not rows:
        return
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    if not screen.width and not screen.colour:
        for row in rows:
            cells = [text + " " * (columns - width(text)) for text, columns in zip(row[:-1], widths, strict=False)]
            yield indent + GAP.join((*cells, row[-1])).rstrip() + "\n"
        return
    names = [*titles, *("NAME" for _ in widths[len(titles) :])]
    widths = screen.fit(widths, [name not in _LOOSE for name in names], len(indent))
    last = len(widths) - 1
    for row in rows:
        cells = [
            screen.shown(text, columns, index == last, text if name == "STATE" else "")
            for index, (text, columns, name) in enumerate(zip(row, widths, names, strict=True))
        ]
        yield indent + GAP.join(cells).rstrip() + "\n"


def render_list(
    rows: Iterable[Mapping[str, Any]],
    columns: Mapping[str, str],
    format: str,
    header: bool = True,
    fields: Sequence[str] = (),
    screen: Screen = PLAIN,
) -> Iterator[str]:
    """A listing; only the table holds all rows at once.

    Args:
        rows: as the server sent them; JSON, JSON lines and YAML show all of their fields.
        columns: the headings of a table, and the field in each column.
        format: `table`, `json`, `jsonl`, `yaml` or `csv`.
        header: False leaves the headings of table and CSV out.
        fields: those of CSV; those of the columns when there are none.
        screen: what a table is shown on.
    """
    if format == "table":
        titles = [list(columns)] if header else []
        cells = [[shown(row, key, screen) for key in columns.values()] for row in rows]
        return aligned(titles + cells, "", screen, tuple(columns))
    from director.report.formats import rows_as

    return rows_as(format, rows, fields or tuple(columns.values()), header)


def render_ids(ids: Sequence[str], format: str, header: bool = True) -> Iterator[str]:
    """The ids of the jobs of a submission; a table has no heading."""
    if format == "table":
        return (f"{job}\n" for job in ids)
    from director.report.formats import values_as

    rows = [{"id": job} for job in ids]
    return values_as(format, rows, rows, ("id",), header)

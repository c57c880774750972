"""Listings: which fields of the server's rows they show, and how; and rows of texts as aligned columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from director import Any
from director.report.text import cell, moment, pad, pairs, seconds, width

FINAL_COUNTS = ("success", "cached", "failed", "timeout", "cancelled", "expired", "lost", "skipped")
COUNTS = ("total", "queued", "sent", "running", *FINAL_COUNTS)
_GAP = "  "

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


def shown(row: Mapping[str, Any], key: str) -> str:
    """A field of a row as one cell."""
    value = row.get(key)
    return cell(SHOWN[key](value) if key in SHOWN else value)


def aligned(rows: Sequence[Sequence[str]], indent: str = "") -> Iterator[str]:
    """Lines of the rows; each column is as wide as its widest cell."""
    if not rows:
        return
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [pad(text, columns) for text, columns in zip(row[:-1], widths[:-1], strict=True)]
        yield indent + _GAP.join((*cells, row[-1])).rstrip() + "\n"


def render_list(
    rows: Iterable[Mapping[str, Any]],
    columns: Mapping[str, str],
    format: str,
    header: bool = True,
    fields: Sequence[str] = (),
) -> Iterator[str]:
    """A listing; only the table holds all rows at once.

    Args:
        rows: as the server sent them; JSON, JSON lines and YAML show all of their fields.
        columns: the headings of a table, and the field in each column.
        format: `table`, `json`, `jsonl`, `yaml` or `csv`.
        header: False leaves the headings of table and CSV out.
        fields: those of CSV; those of the columns when there are none.
    """
    if format == "table":
        titles = [list(columns)] if header else []
        return aligned(titles + [[shown(row, key) for key in columns.values()] for row in rows])
    from director.report.formats import rows_as

    return rows_as(format, rows, fields or tuple(columns.values()), header)


def render_ids(ids: Sequence[str], format: str, header: bool = True) -> Iterator[str]:
    """The ids of the jobs of a submission; a table has no heading."""
    if format == "table":
        return (f"{job}\n" for job in ids)
    from director.report.formats import values_as

    rows = [{"id": job} for job in ids]
    return values_as(format, rows, rows, ("id",), header)

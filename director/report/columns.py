"""The columns of the listings in table and CSV."""

from __future__ import annotations

from director.report.text import cell, moment, pairs, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

FINAL_COUNTS = ("success", "cached", "failed", "timeout", "cancelled", "expired", "lost", "skipped")
COUNTS = ("total", "queued", "sent", "running", *FINAL_COUNTS)


class Column:
    """One column of a listing.

    Attributes:
        title: the heading in a table; "" leaves the column out of tables.
        key: the name of the field, with dots for nested ones (underscores in CSV); "" leaves it out of CSV.
        show: makes the text of a table from the row; None shows the field as it is.
    """

    __slots__ = ("key", "show", "title")

    def __init__(self, title: str, key: str, show: Callable[[Mapping[str, Any]], str] | None = None) -> None:
        self.title = title
        self.key = key
        self.show = show

    def text(self, row: Mapping[str, Any]) -> str:
        """The cell of a table."""
        return cell(self.value(row) if self.show is None else self.show(row))

    def value(self, row: Mapping[str, Any]) -> Any:
        """The raw value, None when absent."""
        value: Any = row
        for part in self.key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value


def done_of_total(job: Mapping[str, Any]) -> str:
    """`38/40`: the final tasks of all."""
    counts = job.get("tasks") or {}
    return f"{sum(counts.get(name, 0) for name in FINAL_COUNTS)}/{counts.get('total', 0)}"


JOB_COLUMNS = (
    Column("ID", "id"),
    Column("STATE", "state"),
    Column("NAME", "name"),
    Column("DONE/TOTAL", "", done_of_total),
    Column("CREATED", "created_at", lambda job: moment(job.get("created_at"))),
    Column("DURATION", "duration", lambda job: seconds(job.get("duration"))),
    Column("BY", "submitted_by"),
    *(Column("", key) for key in ("kind", "final", "step_count", "node_count", "started_at", "finished_at")),
    *(Column("", f"tasks.{name}") for name in COUNTS),
)

NODE_COLUMNS = (
    Column("ID", "id"),
    Column("STATE", "state"),
    Column("ADDRESS", "address"),
    Column("VERSION", "version"),
    Column("LAST-SEEN", "last_seen", lambda node: moment(node.get("last_seen"))),
    Column("LABELS", "labels", lambda node: pairs(node.get("labels"))),
    Column("REASON", "reason"),
    *(Column("", key) for key in ("agent_uptime", "host_uptime", "key")),
)

TASK_COLUMNS = tuple(
    Column("", key)
    for key in (
        *("job", "step", "verb", "node", "state", "exit_code", "stdout", "stderr", "truncated", "reason"),
        *("started_at", "finished_at", "execution_time", "roundtrip_time", "attempt", "late"),
    )
)

PLAN_COLUMNS = tuple(Column("", key) for key in ("step", "verb", "text", "stage", "node", "action", "reason"))

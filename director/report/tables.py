"""Listings, and rows of texts as aligned columns."""

from __future__ import annotations

from director.report.text import pad, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from director.report.columns import Column

_GAP = "  "


def aligned(rows: Sequence[Sequence[str]], indent: str = "") -> Iterator[str]:
    """Lines of the rows; each column is as wide as its widest cell."""
    if not rows:
        return
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [pad(text, columns) for text, columns in zip(row[:-1], widths[:-1], strict=True)]
        yield indent + _GAP.join((*cells, row[-1])).rstrip() + "\n"


def render_list(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], format: str, header: bool = True
) -> Iterator[str]:
    """A listing; only the table holds all rows at once.

    Args:
        rows: as the server sent them; JSON, JSON lines and YAML show all of their fields.
        columns: what table and CSV show.
        format: `table`, `json`, `jsonl`, `yaml` or `csv`.
        header: False leaves the headings of table and CSV out.
    """
    if format == "table":
        return _table(rows, columns, header)
    from director.report.formats import rows_as

    return rows_as(format, rows, columns, header)


def render_ids(ids: Sequence[str], format: str, header: bool = True) -> Iterator[str]:
    """The ids of the jobs of a submission; a table has no heading."""
    if format == "table":
        return (f"{job}\n" for job in ids)
    from director.report.columns import JOB_COLUMNS
    from director.report.formats import object_as

    rows = [{"id": job} for job in ids]
    if format in ("json", "yaml"):
        return object_as(format, rows[0] if len(rows) == 1 else rows)
    return render_list(rows, JOB_COLUMNS[:1], format, header)


def _table(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], header: bool) -> Iterator[str]:
    shown = [column for column in columns if column.title]
    titles = [[column.title for column in shown]] if header else []
    return aligned(titles + [[column.text(row) for column in shown] for row in rows])

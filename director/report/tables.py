"""Rows of texts as aligned columns."""

from __future__ import annotations

from director.report.text import pad, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from director.report.columns import Column

_GAP = "  "


def aligned(rows: Sequence[Sequence[str]], indent: str = "") -> Iterator[str]:
    """Lines of the rows with every column as wide as its widest cell; nothing is cut."""
    if not rows:
        return
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [pad(text, columns) for text, columns in zip(row[:-1], widths[:-1], strict=True)]
        yield indent + _GAP.join((*cells, row[-1])).rstrip() + "\n"


def table(rows: list[Mapping[str, Any]], columns: Sequence[Column], header: bool) -> Iterator[str]:
    """The listing of `rows`; without a header nothing for no rows."""
    shown = [column for column in columns if column.title]
    titles = [[column.title for column in shown]] if header else []
    return aligned(titles + [[column.text(row) for column in shown] for row in rows])

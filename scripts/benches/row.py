"""A row of the table: a figure, its limit, the bar, and whether the bar was reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

HEADER = ("NAME", "WORK", "FIGURE", "LIMIT OR PEER, SAME RUN", "RATIO", "BAR", "")
WIDTHS = (15, 58, 13, 46, 7, 18, 4)


@dataclass(frozen=True, slots=True)
class Row:
    """One measured row.

    Attributes:
        name: of the bench.
        work: what was done.
        figure: median of `samples`, in `unit`.
        limit: what `against` measured in the same run, in the same unit; None where there is nothing to hold against.
        ratio: median of figure and limit run by run; None without a limit.
        bar: the number to reach, None where there is none.
        bar_kind: `at most` or `at least`.
        bar_on: `ratio` or `figure`: which of the two the bar is about.
        samples: the figure of each run.
        more: anything else that was measured on the way.
    """

    name: str
    work: str
    figure: float
    unit: str
    against: str = ""
    limit: float | None = None
    ratio: float | None = None
    bar: float | None = None
    bar_kind: str = "at most"
    bar_on: str = "ratio"
    samples: Sequence[float] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool | None:
        """Whether the bar was reached; None where there is no bar."""
        value = self.ratio if self.bar_on == "ratio" else self.figure
        if self.bar is None or value is None:
            return None
        return value <= self.bar if self.bar_kind == "at most" else value >= self.bar

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON has it."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {**fields, "samples": list(self.samples), "more": dict(self.more), "ok": self.ok}

    def cells(self) -> tuple[str, ...]:
        """The row as the table has it."""
        limit = f"{shown(self.limit, self.unit)}: {self.against}" if self.limit is not None else self.against
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        verdict = {True: "ok", False: "MISS", None: ""}[self.ok]
        return (self.name, self.work, shown(self.figure, self.unit), limit, ratio, self._bar(), verdict)

    def _bar(self) -> str:
        if self.bar is None:
            return ""
        return f"{self.bar_kind} {shown(self.bar, self.unit if self.bar_on == 'figure' else '')}"


def paired(
    name: str, work: str, unit: str, against: str, figures: Sequence[float], limits: Sequence[float], **bar: Any
) -> Row:
    """A row of runs that each have their own limit: medians, and the median of the runs' ratios."""
    ratio = median(figure / limit for figure, limit in zip(figures, limits, strict=True))
    return Row(name, work, median(figures), unit, against, median(limits), ratio, samples=figures, **bar)


def shown(value: float | None, unit: str) -> str:
    """A number with its unit: `1.73 s`, `2,310 /s`, `73%`, `4.2`."""
    if value is None:
        return ""
    if unit == "%":
        return f"{value:.3g}%"
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{number} {unit}".rstrip()


def line(cells: Iterable[str]) -> str:
    """One line of the table on a terminal."""
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def markdown(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| " + " | ".join(cell.lower() or "reached" for cell in HEADER) + " |", "|---" * len(HEADER) + "|"]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows]
    return "\n".join(lines) + "\n"

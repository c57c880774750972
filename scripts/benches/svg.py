"""A line chart as SVG text: two logarithmic axes, a few series, a legend; no library needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 80, 24, 56, 64
COLOURS = ("#1f6feb", "#d4642c", "#2c8a4b", "#8250c4")
INK, GRID = "#24292f", "#d8dee4"
Points = Sequence[tuple[float, float]]


class Axis:
    """A logarithmic axis from the decade below the least value to the decade above the greatest."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low = math.floor(math.log10(min(values)) + 1e-9)
        self.high = max(self.low + 1, math.ceil(math.log10(max(values)) - 1e-9))
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        """Where the value lies on the page."""
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self._start + share * (self._end - self._start)

    @property
    def ticks(self) -> list[float]:
        """The decades."""
        return [10.0**power for power in range(self.low, self.high + 1)]


def chart(title: str, x_label: str, y_label: str, series: Mapping[str, Points]) -> str:
    """The whole file; every value must be above zero."""
    points = [point for line in series.values() for point in line]
    x = Axis([point[0] for point in points], LEFT, WIDTH - RIGHT)
    y = Axis([point[1] for point in points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="13" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(WIDTH / 2, 22, title, "middle", ' font-size="16"'),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label, "middle"),
        f'<g transform="rotate(-90 18 {HEIGHT / 2})">{_text(18, HEIGHT / 2, y_label, "middle")}</g>',
        *_grid(x, y),
        *(part for number, item in enumerate(series.items()) for part in _series(number, *item, x, y)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _grid(x: Axis, y: Axis) -> list[str]:
    parts = []
    for value in x.ticks:
        at = x.place(value)
        parts.append(_line(at, TOP, at, HEIGHT - BOTTOM))
        parts.append(_text(at, HEIGHT - BOTTOM + 20, f"{value:,.0f}" if value >= 1 else f"{value:g}", "middle"))
    for value in y.ticks:
        at = y.place(value)
        parts.append(_line(LEFT, at, WIDTH - RIGHT, at))
        parts.append(_text(LEFT - 8, at + 4, f"{value:,.0f}" if value >= 1 else f"{value:g}", "end"))
    return parts


def _series(number: int, name: str, line: Points, x: Axis, y: Axis) -> list[str]:
    colour = COLOURS[number % len(COLOURS)]
    places = [(x.place(a), y.place(b)) for a, b in line]
    joined = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    top = TOP + 18 + 20 * number
    return [
        f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in places),
        f'<line x1="{LEFT + 12}" y1="{top - 4}" x2="{LEFT + 36}" y2="{top - 4}" stroke="{colour}" stroke-width="2"/>',
        _text(LEFT + 44, top, name),
    ]


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{GRID}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'

"""Writes the rows into docs/performance.md, between two marks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benches.fleet import ROOT
from benches.row import Row, markdown

PAGE = ROOT / "docs/performance.md"
BEGIN, END = "<!-- table: written by scripts/bench --docs -->", "<!-- end of table -->"


def write_table(rows: Sequence[Row], about: Mapping[str, str], page: Path = PAGE) -> None:
    """Replace the table in the page by these rows and the machine they were measured on."""
    text = page.read_text(encoding="utf-8")
    machine = ", ".join(f"{name} {value}" for name, value in about.items())
    block = f"{BEGIN}\n{markdown(rows)}\nMeasured on: {machine}.\n{END}"
    fresh, count = re.subn(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: block, text, flags=re.S)
    if count != 1:
        raise SystemExit(f"bench: {page} has no place for the table")
    page.write_text(fresh, encoding="utf-8")

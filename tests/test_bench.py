"""The benches run: each in a tiny size, with well-formed rows in the table and in the JSON; no figure is judged."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from harness import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from benches import document, svg
from benches.__main__ import APART, BENCHES, arguments
from benches.row import Row, paired

NAMES = [*BENCHES, *(name for name in APART if name != "peers")]  # peers are installed from the net
FIELDS = set(Row.__slots__) | {"ok"}


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the program behind scripts/bench with this very Python."""
    places = os.pathsep.join([str(ROOT / "scripts"), str(ROOT)])
    env = {**os.environ, "PYTHONPATH": places}
    command = [sys.executable, "-m", "benches", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short path: UNIX sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_bench_prints_its_rows(name: str, place: Path) -> None:
    if shutil.which("gcc") is None and shutil.which("cc") is None and name in ("orchestration", "fanout", "plots"):
        assert "no C compiler" in bench(name, "--size", "tiny", "--folder", str(place)).stderr
        return
    file = place / "rows.json"
    done = bench(name, "--size", "tiny", "--json", str(file), "--folder", str(place))
    assert done.returncode in (0, 1), done.stderr
    answer = json.loads(file.read_text())
    assert answer["machine"]["cores"]
    assert answer["rows"]
    for row in answer["rows"]:
        assert set(row) == FIELDS
        assert row["name"] == name
        assert math.isfinite(row["figure"])
        assert row["work"] in done.stdout
    assert done.returncode == any(row["ok"] is False for row in answer["rows"])
    assert not list(place.glob("director-bench-*")), "its folder is left behind"


def test_the_size_and_number_of_runs() -> None:
    shown = [(args.size, args.runs, args.names) for args in map(arguments, ([], ["--quick", "cli"], ["--size=tiny"]))]
    assert shown == [("full", 5, ["all"]), ("quick", 2, ["cli"]), ("tiny", 1, ["all"])]


def test_a_folder_too_deep_for_sockets_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    done = bench("spawn", "--size", "tiny", "--folder", str(deep))
    assert done.returncode == 2
    assert "shorter" in done.stderr and "Traceback" not in done.stderr


def test_an_unknown_bench_is_refused() -> None:
    done = bench("fanuot")
    assert done.returncode == 2
    assert "fanout" in done.stderr


@pytest.mark.parametrize(
    ("kind", "bar", "ok"),
    [("at most", 0.5, True), ("at most", 0.4, False), ("at least", 0.5, True), ("at least", 0.6, False)],
)
def test_a_row_is_judged_by_its_ratio(kind: str, bar: float, ok: bool) -> None:
    row = paired("x", "work", "s", "limit", [1.0, 2.0, 3.0], [2.0, 4.0, 60.0], bar=bar, bar_kind=kind)
    assert (row.figure, row.limit, row.ratio, row.ok) == (2.0, 4.0, 0.5, ok)


def test_a_row_is_judged_by_its_figure() -> None:
    assert Row("x", "work", 20.0, "s", bar=20.0, bar_on="figure").ok is True
    assert Row("x", "work", 20.1, "s", bar=20.0, bar_on="figure").ok is False
    assert Row("x", "work", 20.1, "s").ok is None


def test_the_table_of_the_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{document.BEGIN}\nold\n{document.END}\nafter\n")
    document.write_table([Row("x", "work", 2500.0, "/s")], {"cores": "2"}, page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| x | work | 2,500 /s |" in text
    document.write_table([], {}, page)
    assert "2,500" not in page.read_text()


def test_the_page_has_a_place_for_the_table() -> None:
    text = document.PAGE.read_text(encoding="utf-8")
    assert text.count(document.BEGIN) == text.count(document.END) == 1


def test_a_chart_is_well_formed_and_keeps_its_points_inside() -> None:
    text = svg.chart("A < B", "nodes", "seconds", {"one": [(1, 0.01), (10_000, 30.0)], "two": [(5, 1.0)]})
    root = ElementTree.fromstring(text)
    spots = [item for item in root.iter() if item.tag.endswith("circle")]
    assert len(spots) == 3
    for spot in spots:
        assert svg.LEFT <= float(spot.attrib["cx"]) <= svg.WIDTH - svg.RIGHT
        assert svg.TOP <= float(spot.attrib["cy"]) <= svg.HEIGHT - svg.BOTTOM

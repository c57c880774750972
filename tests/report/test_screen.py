"""Ten thousand answers on one screen; columns that fit; sizes and times for people."""

from __future__ import annotations

import time

import pytest
from report.answers import job, task

from director.node_sets import expand
from director.report.jobs import narrowed, render_job, render_jobs
from director.report.screen import Screen
from director.report.tables import aligned
from director.report.text import ago, clipped, memory, size, width

SCREEN = Screen(80, 24)
OUTPUT = "".join(f"line {number}\n" for number in range(6))


def test_ten_thousand_answers_of_which_37_differ_in_five_ways() -> None:
    odd = {number * 263: number % 5 for number in range(1, 38)}
    tasks = []
    for number in range(10_000):
        way = odd.get(number)
        if way == 0:
            tasks.append(task(f"n{number:05}", "failed", exit_code=1, stderr="no\n", reason="exit code 1: no"))
        else:
            text = OUTPUT if way is None else OUTPUT.replace(f"line {way}", f"other {way}")
            tasks.append(task(f"n{number:05}", stdout=text))
    one = job(("RUN x", tasks))
    began = time.monotonic()
    lines = "".join(render_jobs([one], "table", screen=SCREEN)).splitlines()
    assert time.monotonic() - began < 5, "seconds; it takes a tenth of one"
    assert len(lines) <= 24
    heads = [line for line in lines if "nodes]" in line]
    assert heads[0].endswith("[9963 nodes] 1.00s") and width(heads[0]) <= 80
    sizes = [int(line.rpartition("[")[2].split()[0]) for line in heads]
    assert sizes == [9963, 8, 8, 7, 7, 7] and sum(sizes) == 10_000
    assert [line for line in lines if line.endswith(" 1") and line[2] in "+-"] == ["  -line 1", "  +other 1"]
    names = next(line for line in lines if ": failed" in line).partition(": ")[0]
    found = {name for word in [names.replace("],n", "] n")] for part in word.split() for name in expand(part)}
    assert found == {f"n{number:05}" for number, way in odd.items() if way == 0}
    assert "exit code 1 [7 nodes]" in "\n".join(lines) and lines.count("! no") == 1, "the failure is said once"


def test_what_was_skipped_is_only_counted() -> None:
    failed = task("a", "failed", exit_code=1, reason="exit code 1")
    steps = job(("RUN x", [failed, task("b")]), ("RUN y", [task("a", "skipped", reason="step 1 failed"), task("b")]))
    lines = "".join(render_jobs([steps], "table", screen=SCREEN)).splitlines()
    assert "== step 2: RUN y: 1 success, 1 skipped" in lines and not any("step 1 failed" in line for line in lines)


def test_many_groups_and_long_outputs_are_cut_on_a_terminal_only() -> None:
    many = job(("RUN x", [task(f"n{number}", stdout=f"{number}\n") for number in range(100)]))
    shown = "".join(render_jobs([many], "table", screen=SCREEN))
    assert "and 80 more groups of 80 nodes; --per-node shows all" in shown
    assert "".join(render_jobs([many], "table")).count(": success") == 100
    long = job(("RUN x", [task("n", stdout="x\n" * 1000)]))
    assert "… 960 more lines" in "".join(render_jobs([long], "table", screen=SCREEN))
    assert "".join(render_jobs([long], "table")).count("  x\n") == 1000


def test_narrowed() -> None:
    one = job(("RUN x", [task("a"), task("b", "failed")]), ("RUN y", [task("a"), task("b", "skipped")]))
    assert [[each["node"] for each in step["tasks"]] for step in narrowed(one, failed=True)["steps"]] == [["b"]]
    assert [step["index"] for step in narrowed(one, step=2)["steps"]] == [1]
    assert [len(step["tasks"]) for step in narrowed(one, nodes=frozenset("a"))["steps"]] == [1, 1]
    assert narrowed(one)["steps"] == one["steps"]


def test_job_info_by_groups_or_by_nodes() -> None:
    one = job(("RUN x", [task("web-1", stdout="x"), task("web-2", stdout="x")]))
    assert "NODE" in "".join(render_job(one, "table"))
    assert "web-[1-2]: success [2 nodes]" in "".join(render_job(one, "table", per_node=False))
    assert "NODE" not in "".join(render_job(one, "table", screen=SCREEN))
    assert "NODE" in "".join(render_job(one, "table", screen=SCREEN, per_node=True))


def test_columns_are_shortened_until_they_fit() -> None:
    rows = [["ID", "NAME", "STATE", "REASON"], ["a" * 16, "n" * 60, "success", "r" * 60]]
    lines = "".join(aligned(rows, "", SCREEN, rows[0])).splitlines()
    assert all(width(line) <= 80 for line in lines)
    assert lines[1].split()[0] == "a" * 16 and "success" in lines[1], "ids and states stay whole"
    assert "".join(aligned(rows)).splitlines()[1].endswith("r" * 60)
    coloured = "".join(aligned(rows, "", Screen(80, 24, True), rows[0]))
    assert "\x1b[32msuccess\x1b[0m" in coloured


@pytest.mark.parametrize(
    ("text", "columns", "short"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("\u4e2d\u6587\u4e2d", 5, "\u4e2d\u6587…"), ("", 3, "")],
)
def test_clipped(text: str, columns: int, short: str) -> None:
    assert clipped(text, columns) == short and width(short) <= columns


def test_sizes_and_times_for_people() -> None:
    assert [size(value) for value in (0, 77, 1234, 1_200_000, 999_900_000, 5e12)] == [
        "0 B", "77 B", "1.2 KB", "1.2 MB", "1.0 GB", "5.0 TB",
    ]  # fmt: skip
    assert [memory(value) for value in (512, 8 << 30, 3 << 40)] == ["512", "8.0G", "3.0T"]
    now = 1_988_020_800.0  # 2032-12-30T12:00:00Z
    assert ago("2032-12-30T11:59:55.500Z", now) == "4s ago" and ago("2032-12-30T12:05:00Z", now) == "in 5m"
    assert ago(now - 7200, now) == "2h ago" and ago(None, now) == "" and ago("soon", now) == "soon"

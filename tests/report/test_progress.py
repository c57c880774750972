"""The lines that a call shows while it waits."""

from __future__ import annotations

from typing import Any

from director.report.progress import Rate, progress_lines

NOW = 1_929_985_600.0  # 2031-02-27T19:06:40Z


def progress(**more: Any) -> dict[str, Any]:
    tasks = {"total": 1000, "queued": 100, "sent": 40, "running": 36, "success": 800, "failed": 24}
    nodes = {"total": 500, "done": 412, "failed": 3}
    job = {"id": "a" * 16, "tasks": tasks, "steps": 2, "nodes": nodes, "failed": ["web-3", "web-17", "web-18"]}
    waiting = [
        {"node": "db-1", "why": "running", "step": 1, "since": "2031-02-27T19:06:05.000Z"},
        {"node": "db-2", "why": "offline", "step": 0, "since": "2031-02-27T18:06:40.000Z"},
        {"node": "db-3", "why": "queued", "step": 0, "since": None},
    ]
    return {"jobs": [{**job, **more}], "waiting": waiting}


def test_what_is_shown() -> None:
    head, lines = progress_lines(progress(), 120.4, NOW)
    assert head == f"job {'a' * 16}, step 1 to 2 of 2"
    assert lines == [
        "412 of 500 nodes done, 3 failed, 88 waiting, 824 of 1000 tasks, 120 a second, 1s left",
        "failed: web-[3,17-18]",
        "slowest: db-2 offline 1h, db-1 running 35s",
    ]


def test_a_server_that_says_less() -> None:
    job = {"id": "a" * 16, "tasks": {"total": 4, "success": 1, "running": 3}}
    assert progress_lines({"jobs": [job, job]}, 0.0, NOW) == ("2 jobs", ["2 of 8 tasks"])
    assert progress_lines({}, 0.0, NOW)[1] == ["0 of 0 tasks"]


def test_names_control_no_terminal() -> None:
    _, lines = progress_lines(progress(failed=["x\x1b[2J"]), 0.5, NOW)
    assert "\x1b" not in "".join(lines) and "0.5 a second" in lines[0]


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.take(0.0, 0) == rate.take(0.5, 100) == 0.0, "not known yet"
    assert rate.take(2.0, 100) == 50.0
    assert rate.take(30.0, 100) == 0.0
    assert rate.take(32.0, 300) == 100.0
    assert rate.take(33.0, 0) == 0.0, "another job"

"""Jobs as tables: groups, steps, job-info; exit codes, and lines about waiting."""

import csv
import io
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from report.answers import ID, job, task

from director.cli.waiting import verdict
from director.report.jobs import render_job, render_jobs
from director.report.waiting import waiting_lines


def text(pieces):
    return "".join(pieces)


def webs(*numbers, **more):
    return [task(f"web-{n:02}", **more) for n in numbers]


def test_identical_results_once_the_biggest_group_first():
    odd = task("web-39", "failed", exit_code=3, stderr="bad\n", reason="exit code 3")
    one = job(("RUN x", [odd, *webs(*range(1, 39), 40, stdout="same\noutput\n")]))
    assert text(render_jobs([one], "table")).splitlines() == [
        "web-[01-38,40]: success [39 nodes]",
        "  same",
        "  output",
        "web-39: failed: exit code 3",
        "! bad",
        f"job {ID} failed: 40/40 done, 39 success, 1 failed, 1m05s",
    ]


@pytest.mark.parametrize(
    "other",
    [{"stdout": "b"}, {"stderr": "b"}, {"state": "cached"}, {"exit_code": 2}, {"reason": "b"}, {"truncated": 5}],
)
def test_different_results_are_separate_groups(other):
    answer = text(render_jobs([job(("RUN x", [task("a"), {**task("b"), **other}]))], "table"))
    assert len([line for line in answer.splitlines() if line.startswith(("a:", "b:"))]) == 2


def test_several_steps():
    quiet = ("RUN true", webs(1, 2))
    loud = ("RUN echo hi\nmore", webs(1, 2, stdout="hi\n"))
    failed = ("COPY a b", [task("web-01"), task("web-02", "skipped", exit_code=None, reason="step 1 failed")])
    assert text(render_jobs([job(quiet, loud, failed)], "table")).splitlines()[:-1] == [
        "== step 1: RUN true: 2 success",
        "== step 2: RUN echo hi ...",
        "web-[01-02]: success [2 nodes]",
        "  hi",
        "== step 3: COPY a b",
        "web-01: success",
        "web-02: skipped: step 1 failed",
    ]


def test_output_can_neither_control_the_terminal_nor_look_like_a_heading():
    evil = "web-02: success\n\x1b[2J\ttab\r\n\x9b"
    answer = text(render_jobs([job(("RUN x", [task("web-01", stdout=evil, stderr=evil)]))], "table"))
    assert not set(answer) & set("\x1b\x9b\r")
    assert "  \\x1b[2J\ttab\\r\n" in answer
    assert not any(line.startswith("web-02") for line in answer.splitlines())


def test_truncated_and_late_are_shown():
    late = task("b", "lost", reason="silent for 5 min", exit_code=None, late={"state": "failed", "exit_code": 2})
    answer = text(render_jobs([job(("RUN x", [task("a", truncated=77, stdout="x"), late]))], "table"))
    assert "(77 bytes of output left out)" in answer
    assert "(came late, changes nothing: failed (exit code 2))" in answer


def test_several_jobs_have_headings():
    answer = text(render_jobs([job(("RUN x", webs(1))), job(("RUN x", webs(1)), name="b")], "table"))
    assert f"=== job {ID} exec\n" in answer and f"\n\n=== job {ID} b\n" in answer


def test_jobs_for_programs():
    one = job(("RUN x", webs(1, 2, stdout="a\nb")), ("RUN y", webs(1)))
    assert json.loads(text(render_jobs([one], "json"))) == one
    assert json.loads(text(render_jobs([one, one], "json"))) == [one, one]
    assert yaml.safe_load(text(render_jobs([one], "yaml"))) == one
    assert json.loads(text(render_job(one, "json"))) == one
    tasks = [json.loads(line) for line in text(render_jobs([one], "jsonl")).splitlines()]
    assert tasks[0] == {"job": ID, "step": 0, "number": 1, **one["steps"][0]["tasks"][0]}
    assert [(each["step"], each["node"]) for each in tasks] == [(0, "web-01"), (0, "web-02"), (1, "web-01")]
    rows = list(csv.DictReader(io.StringIO(text(render_job(one, "csv")), newline="")))
    assert rows[1]["stdout"] == "a\nb" and rows[2]["step"] == "1" and rows[2]["verb"] == "RUN"


def test_job_info_shows_every_task():
    failed = task("web-02", "failed", exit_code=3, attempt=2, reason="exit code 3", stdout="why")
    answer = text(render_job(job(("RUN x", [task("web-01"), failed])), "table"))
    lines = [line.split() for line in answer.splitlines()]
    assert ["id", ID] in lines and ["started", "-"] in lines
    assert ["NODE", "STATE", "TIME", "ATTEMPT", "REASON"] in lines
    assert ["web-01", "success", "1.00s", "1", "-"] in lines
    assert "web-02: failed: exit code 3\n  why\n" in answer
    assert "NODE" not in text(render_job(job(("RUN x", [failed])), "table", header=False))


@given(st.lists(st.tuples(st.sampled_from(["success", "failed", "lost"]), st.text(max_size=20)), max_size=8))
def test_any_output_is_shown_in_every_format(results):
    one = job(("RUN x", [task(f"n{n}", state, stdout=out, reason=out) for n, (state, out) in enumerate(results)]))
    table = text(render_jobs([one], "table")) + text(render_job(one, "table"))
    assert all(
        line == "" or line.isprintable() or line.replace("\t", "").isprintable() or not line.isascii()
        for line in table.split("\n")
    )
    assert json.loads(text(render_jobs([one], "json"))) == one
    assert yaml.safe_load(text(render_jobs([one], "yaml"))) == one
    assert len(text(render_jobs([one], "jsonl")).split("\n")) == len(results) + 1


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([], 0),
        (["success"], 0),
        (["success", "failed"], 1),
        (["cancelled"], 8),
        (["incomplete", "success"], 8),
        (["incomplete", "failed", "cancelled"], 1),
        (["running", "failed"], 4),
        (["queued"], 4),
    ],
)
def test_verdict(states, code):
    assert verdict({"state": state} for state in states) == code


def test_waiting_lines():
    waiting = [
        {"node": "db", "why": "running", "since": "2031-05-04T10:00:00.5Z", "until": None},
        *({"node": f"web-{n}", "why": "offline", "since": 1.0 + n, "until": 3600.0} for n in range(3)),
        {"node": "x\x1b", "why": "silent since", "since": "2031-05-04T10:00:00Z", "until": "2031-05-04T10:05:00Z"},
    ]
    assert waiting_lines({"waiting": waiting}) == [
        "waiting for web-[0-2]: offline since 1970-01-01T00:00:01Z, until 1970-01-01T01:00:00Z",
        "waiting for db: running since 2031-05-04T10:00:00Z",
        r"waiting for x\x1b: silent since 2031-05-04T10:00:00Z, until 2031-05-04T10:05:00Z",
    ]
    assert waiting_lines({"waiting": []}) == waiting_lines({}) == []

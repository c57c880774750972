"""How tasks end, and what ends with them on the same node and on others."""

from __future__ import annotations

import pytest
from plans import block, build, end, hand_all, seen

from director import states as st
from director.scheduler import ends
from director.scheduler.choice import awaited
from director.scheduler.ends import cancel, expire, lose
from director.scheduler.windows import StepRange


@pytest.mark.parametrize("letter", "FTL")
def test_a_failure_skips_what_follows_on_the_node_only(letter: str) -> None:
    run = build([block(0, 2), block(3, 3, 1, barrier=True)], [["a", "b"], ["a"]])
    hand_all(run, "a")
    found = end(run, "a", 0, letter)
    assert seen(run) == {"a": letter + "KKK", "b": "qqq-"}
    assert found is not None
    assert [(r.node, r.first, r.last, r.state) for r in found] == [("a", 1, 3, st.SKIPPED)]
    assert "why" in found[0].reason
    assert end(run, "a", 0) is None
    assert end(run, "a", 1) is None


@pytest.mark.parametrize("letter, stops", [("F", False), ("T", False), ("L", True), ("X", True)])
def test_ignored_failures_stop_and_count_nothing(letter: str, stops: bool) -> None:
    run = build([block(0, 1)], [["a"]], ignored=[0])
    hand_all(run, "a")
    end(run, "a", 0, letter)
    assert (seen(run)["a"][1] != "s") == stops
    end(run, "a", 1)
    assert (run.verdict() == st.JOB_SUCCESS) == (not stops)


def test_a_failure_in_a_lane_skips_steps_of_that_lane_only() -> None:
    blocks = [block(0, 1, 0, lane=1, group=1), block(2, 3, 1, lane=2, group=1), block(4, 4, 2, barrier=True)]
    run = build(blocks, [["a"], ["a"], ["a"]])
    hand_all(run, "a")
    end(run, "a", 0, "F")
    assert seen(run)["a"] == "FKssq"
    end(run, "a", 2)
    end(run, "a", 3)
    assert run.barriers.open()
    assert hand_all(run, "a") == [StepRange(4, 4)]


def test_other_nodes_skip_what_follows_a_failed_run_once_step() -> None:
    blocks = [block(0, 0), block(1, 1, 0, barrier=True, nodes=["a"]), block(2, 3, 0, barrier=True)]
    run = build(blocks, [["a", "b"]], once=[1])
    for name in "ab":
        hand_all(run, name)
        end(run, name, 0)
    run.barriers.open()
    hand_all(run, "a")
    end(run, "a", 1, "F")
    assert seen(run) == {"a": "SFKK", "b": "S-KK"}
    assert run.open == 0
    assert run.verdict() == st.JOB_FAILED


def test_other_nodes_skip_what_follows_a_lost_run_once_step() -> None:
    blocks = [block(0, 0, 0, nodes=["a"]), block(1, 1, 0, barrier=True)]
    run = build(blocks, [["a", "b"]], once=[0])
    hand_all(run, "a")
    lose(run, run.nodes["a"], "silent")
    assert seen(run) == {"a": "LK", "b": "-K"}


def test_other_nodes_skip_what_follows_a_run_once_step_that_was_skipped() -> None:
    blocks = [block(0, 1), block(2, 2, 0, barrier=True, nodes=["a"]), block(3, 3, 0, barrier=True)]
    for end_it in (lambda run: end(run, "a", 0, "F"), lambda run: lose(run, run.nodes["a"], "silent")):
        run = build(blocks, [["a", "b"]], once=[2])
        hand_all(run, "a")
        hand_all(run, "b")
        end_it(run)
        assert seen(run)["a"][2:] == "KK"
        assert seen(run)["b"] == "ss-K"
        for step in (0, 1):
            end(run, "b", step)
        assert run.nodes["b"].open == 0


def test_a_lost_node_fails_the_run_once_steps_of_all_its_lanes() -> None:
    blocks = [block(0, 0), block(1, 1, 1, lane=1, group=1, barrier=True, nodes=["a"]), block(2, 2, 1, lane=1, group=1)]
    blocks += [block(3, 3, 2, lane=2, group=1, nodes=["a"]), block(4, 4, 2, lane=2, group=1)]
    run = build(blocks, [["a", "b"]] * 3, once=[1, 3])
    hand_all(run, "a")
    lose(run, run.nodes["a"], "silent")
    assert seen(run) == {"a": "LKKKK", "b": "q-K-K"}


def test_other_nodes_skip_what_they_hold_behind_a_failed_run_once_step() -> None:
    plan = [block(0, 0), block(1, 1, nodes=["a"], once=True), block(2, 3)]
    run = build(plan, [["a", "b", "c"]], waived=("a",), once=[1])
    hand_all(run, "b")
    hand_all(run, "c")
    run.begin(run.nodes["c"], 0, 1.0)
    run.take_back(run.nodes["c"], 3)
    hand_all(run, "a")
    end(run, "a", 0)
    found = end(run, "a", 1, "F")
    assert seen(run) == {"a": "SFKK", "b": "s-KK", "c": "r-KK"}, "what stands before it goes on"
    assert [(r.node, r.first, r.last, r.state) for r in found or ()] == [(n, 2, 3, st.SKIPPED) for n in "abc"]
    assert (run.nodes["b"].handed, run.nodes["c"].handed, run.open) == (1, 1, 2)


def test_barriers_wait_only_for_the_run_once_steps_of_a_waived_node() -> None:
    blocks = [block(0, 0), block(1, 1, 0, nodes=["a"], once=True), block(2, 2), block(3, 3, 1, barrier=True)]
    run = build(blocks, [["a", "b"], ["b"]], waived=("a",), once=[1])
    assert run.barriers.limit == 3, "nothing in the stage is held back"
    for name in "ab":
        hand_all(run, name)
    for name, step in (("b", 0), ("b", 2), ("a", 0)):
        end(run, name, step)
    assert not run.barriers.open()
    assert awaited(run, 2) == [(run.nodes["a"], 1)] and not awaited(run, 3)
    assert not run.went_well(run.nodes["a"], 1)
    end(run, "a", 1)
    assert run.went_well(run.nodes["a"], 1) and run.barriers.open() and seen(run)["a"] == "SSs-"


def test_other_nodes_skip_what_follows_expired_run_once_steps_in_each_lane() -> None:
    blocks = [block(0, 0, 0, lane=1, group=1, nodes=["a"], once=True), block(1, 1, 0, lane=1, group=1)]
    blocks += [block(2, 2, 1, lane=2, group=1, nodes=["a"], once=True), block(3, 3, 1, lane=2, group=1)]
    run = build(blocks, [["a", "b"]] * 2, waived=("a",), once=[0, 2])
    hand_all(run, "b")
    expire(run, run.nodes["a"], "late")
    assert seen(run) == {"a": "EEEE", "b": "-K-K"}
    assert run.over


def test_cancel_ends_only_what_no_node_holds() -> None:
    run = build([block(0, 1), block(2, 3, 1, barrier=True)], [["a", "b"], ["a", "b"]])
    hand_all(run, "a")
    found = cancel(run, "by root")
    assert seen(run) == {"a": "ssXX", "b": "XXXX"}
    assert {(r.node, r.first, r.reason) for r in found} == {("a", 2, "by root"), ("b", 0, "by root")}
    end(run, "a", 0)
    end(run, "a", 1, "X")
    assert run.verdict() == st.JOB_CANCELLED


def test_only_tasks_that_were_never_sent_expire() -> None:
    run = build([block(0, 1), block(2, 3, 1, barrier=True)], [["a"], ["a"]])
    hand_all(run, "a")
    expire(run, run.nodes["a"], "late")
    assert seen(run)["a"] == "ssEE"


def test_tasks_that_a_silent_node_holds_are_lost_and_later_ones_skipped() -> None:
    run = build([block(0, 2), block(3, 3, 1, barrier=True)], [["a"], ["a"]])
    node = run.nodes["a"]
    assert lose(run, node, "silent") == [], "it held nothing"
    hand_all(run, "a")
    end(run, "a", 0)
    run.begin(node, 1, 1.0)
    epoch = node.epoch
    lose(run, node, "silent")
    assert (seen(run)["a"], node.open, node.epoch > epoch, node.started) == ("SLLK", 0, True, {})


@pytest.mark.parametrize(
    "letters, expected",
    [
        ("SC", "success"),
        ("SE", "incomplete"),
        ("EX", "cancelled"),
        ("XF", "failed"),
        ("SL", "failed"),
        ("ST", "failed"),
    ],
)
def test_verdicts(letters: str, expected: str) -> None:
    run = build([block(0, 0)], [["a", "b"]])
    for name, letter in zip("ab", letters, strict=True):
        ends.end(run, run.nodes[name], 0, ord(letter))
    assert run.open == 0
    assert run.verdict() == expected


def test_a_job_runs_once_its_first_step_is_handed_out() -> None:
    run = build([block(0, 1)], [["a"]])
    assert run.state == st.JOB_QUEUED
    hand_all(run, "a")
    assert run.state == st.JOB_RUNNING

"""The node of a run-once step is chosen when its stage starts: a candidate that is online and has not failed."""

from __future__ import annotations

from typing import Any

import ujson
from plans import block, build, end, hand_all, meta, seen

from director.scheduler.build import new_run, restore
from director.scheduler.choice import choose
from director.scheduler.ends import cancel, expire


def once(step: int, stage: int, choose: list[str], **more: Any) -> dict[str, Any]:
    """A block of one run-once step, as a planner gives it."""
    return block(step, step, stage, nodes=choose[:1], once=True, choose=choose, **{"barrier": bool(step), **more})


def test_the_first_online_candidate_is_chosen_when_the_stage_starts() -> None:
    plan = [block(0, 0), once(1, 1, ["b", "c"]), block(2, 2, 1, barrier=True)]
    run = build(plan, [["a"], ["b", "c"]], once=[1])
    assert seen(run) == {"a": "q--", "b": "--q", "c": "--q"} and run.total == 3
    assert not choose(run, lambda name: True), "not before the stage starts"
    hand_all(run, "a")
    end(run, "a", 0)
    assert run.barriers.open() and run.barriers.limit == 2
    assert [node.node for node in choose(run, lambda name: name == "c")] == ["c"]
    assert seen(run) == {"a": "S--", "b": "--q", "c": "-qq"} and run.total == 4
    assert run.meta["blocks"][1] == block(1, 1, 1, barrier=True, nodes=["c"], once=True)
    assert not choose(run, lambda name: True)
    assert not hand_all(run, "b"), "the others wait"
    hand_all(run, "c")
    end(run, "c", 1)
    run.barriers.open()
    assert hand_all(run, "b")


def test_the_first_stage_chooses_at_once() -> None:
    run = build([once(0, 0, ["a", "b"]), block(1, 1, barrier=True)], [["a", "b"]], waived=("a",), once=[0])
    assert seen(run) == {"a": "-q", "b": "qq"} and run.barriers.limit == 1


def test_the_barrier_waits_for_a_run_once_step_of_an_offline_node() -> None:
    run = build([once(0, 0, ["a"]), block(1, 1, barrier=True)], [["a", "b"]], waived=("a",), once=[0])
    assert seen(run) == {"a": "qq", "b": "-q"} and run.barriers.limit == 1 and not hand_all(run, "b")
    assert expire(run, run.nodes["a"], "late")
    assert seen(run) == {"a": "EE", "b": "-K"} and run.over


def test_a_node_that_has_failed_is_not_chosen() -> None:
    run = build([block(0, 0), once(1, 1, ["a", "b"])], [["a", "b"], ["a", "b"]], once=[1])
    for name, letter in (("a", "F"), ("b", "S")):
        hand_all(run, name)
        end(run, name, 0, letter)
    run.barriers.open()
    choose(run, lambda name: True)
    assert seen(run) == {"a": "F-", "b": "Sq"}


def test_a_node_whose_failure_is_ignored_is_chosen() -> None:
    run = build([block(0, 0), once(1, 1, ["a", "b"])], [["a", "b"], ["a", "b"]], once=[1], ignored=[0])
    for name, letter in (("a", "F"), ("b", "S")):
        hand_all(run, name)
        end(run, name, 0, letter)
    run.barriers.open()
    choose(run, lambda name: True)
    assert seen(run) == {"a": "Fq", "b": "S-"}


def test_without_candidates_no_node_runs_the_step() -> None:
    run = build([block(0, 0), once(1, 1, ["a"])], [["a"], ["a"]], once=[1])
    hand_all(run, "a")
    end(run, "a", 0, "F")
    assert not run.over
    run.barriers.open()
    assert not choose(run, lambda name: True)
    assert run.over and run.verdict() == "failed"


def test_a_job_that_waits_for_another_one_chooses_later() -> None:
    run = build([once(0, 0, ["a", "b"])], [["a", "b"]], once=[0], after="before")
    assert run.total == 0 and not run.over
    choose(run, lambda name: name == "b")
    assert seen(run) == {"a": "-", "b": "q"}


def test_a_step_that_is_cancelled_before_the_choice_gets_a_cancelled_task() -> None:
    run = build([block(0, 0), once(1, 1, ["b", "c"])], [["a"], ["b", "c"]], once=[1])
    choose(run, lambda name: True, every=True)
    cancel(run, "by root")
    assert seen(run) == {"a": "X-", "b": "-X", "c": "--"}


def test_range_ends_before_the_choice_leave_the_step_out() -> None:
    plan = [block(0, 0, lane=1, group=1), once(1, 1, ["b"], barrier=True), block(2, 2, 2, barrier=True)]
    run = build(plan, [["a", "b"], ["b"], ["a"]], once=[1])
    ends = expire(run, run.nodes["b"], "late")
    ranges = [(found.first, found.last) for found in ends]
    assert ranges == [(0, 0), (2, 2)], "or it would be read as the step's end too"
    choose(run, lambda name: True, every=True)
    assert seen(run) == {"a": "q-q", "b": "Eq-"}


def test_a_restart_keeps_the_choice() -> None:
    stored = meta([block(0, 0), once(1, 1, ["b", "c"])], [["a"], ["b", "c"]], once=[1])
    run = new_run("j", stored, ())
    hand_all(run, "a")
    end(run, "a", 0)
    run.barriers.open()
    choose(run, lambda name: name == "c")
    held = {name: {"cursor": 0, "results": [], "range_ends": []} for name in run.nodes}
    held["a"] = {"cursor": 1, "results": [(0, "S")], "range_ends": []}
    again = new_run("j", ujson.loads(ujson.dumps(stored)), ())
    restore(again, held)
    assert not choose(again, lambda name: True)
    assert seen(again) == {"a": "S-", "c": "-q"} and again.barriers.limit == run.barriers.limit


def test_a_node_has_passed_a_step_when_it_has_ended_those_before() -> None:
    plan = [
        block(0, 1), block(2, 3, 1, barrier=True, lane=1, group=1), block(4, 6, 2, lane=2, group=1),
        block(7, 7, 3, barrier=True),
    ]  # fmt: skip
    run = build(plan, [["a", "b"]] * 4)
    a = run.nodes["a"]
    assert run.passed(a, 0) and not run.passed(a, 1)
    hand_all(run, "a")
    hand_all(run, "b")
    for step in (0, 1):
        end(run, "a", step)
        end(run, "b", step)
    assert run.passed(a, 2) and run.passed(a, 4) and not run.passed(a, 5), "a lane does not wait for its neighbour"
    run.barriers.open()
    hand_all(run, "a")
    end(run, "a", 4)
    assert run.passed(a, 5) and not run.passed(a, 7)
    end(run, "a", 5, "F")
    end(run, "a", 2, "F")
    assert run.passed(a, 7), "a failure ends what follows"

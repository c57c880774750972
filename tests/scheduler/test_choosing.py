"""Who runs a step for all is chosen when the stage starts, among those that are there and have not failed."""

from __future__ import annotations

from typing import Any

import ujson
from test_job_state import block, build, end, hand_all, meta, seen

from director.scheduler.job_state import JobRun, restore


def once(step: int, stage: int, choose: list[str], **more: Any) -> dict[str, Any]:
    """A block of one run-once step, as a planner gives it."""
    return block(step, step, stage, nodes=choose[:1], once=True, choose=choose, **{"gate": bool(step), **more})


def test_the_first_that_is_online_when_its_stage_starts() -> None:
    plan = [block(0, 0), once(1, 1, ["b", "c"]), block(2, 2, 1, gate=True)]
    run = build(plan, [["a"], ["b", "c"]], once=[1])
    assert seen(run) == {"a": "q--", "b": "--q", "c": "--q"} and run.total == 3
    assert not run.choose(lambda name: True), "not before the stage starts"
    hand_all(run, "a")
    end(run, "a", 0)
    assert run.open_gates() and run.limit == 2
    assert [node.node for node in run.choose(lambda name: name == "c")] == ["c"]
    assert seen(run) == {"a": "S--", "b": "--q", "c": "-qq"} and run.total == 4
    assert run.meta["blocks"][1] == block(1, 1, 1, gate=True, nodes=["c"], once=True)
    assert not run.choose(lambda name: True)
    assert not hand_all(run, "b"), "the others wait"
    hand_all(run, "c")
    end(run, "c", 1)
    run.open_gates()
    assert hand_all(run, "b")


def test_at_once_for_the_first_stage_by_who_is_offline() -> None:
    run = build([once(0, 0, ["a", "b"]), block(1, 1, gate=True)], [["a", "b"]], waived=("a",), once=[0])
    assert seen(run) == {"a": "-q", "b": "qq"} and run.limit == 1


def test_all_wait_even_for_one_that_was_offline_when_the_job_began() -> None:
    run = build([once(0, 0, ["a"]), block(1, 1, gate=True)], [["a", "b"]], waived=("a",), once=[0])
    assert seen(run) == {"a": "qq", "b": "-q"} and run.limit == 1 and not hand_all(run, "b")
    assert run.expire(run.nodes["a"], "late")
    assert seen(run) == {"a": "EE", "b": "-K"} and run.over


def test_one_that_has_failed_is_not_chosen() -> None:
    run = build([block(0, 0), once(1, 1, ["a", "b"])], [["a", "b"], ["a", "b"]], once=[1])
    for name, letter in (("a", "F"), ("b", "S")):
        hand_all(run, name)
        end(run, name, 0, letter)
    run.open_gates()
    run.choose(lambda name: True)
    assert seen(run) == {"a": "F-", "b": "Sq"}


def test_one_whose_failure_is_ignored_is() -> None:
    run = build([block(0, 0), once(1, 1, ["a", "b"])], [["a", "b"], ["a", "b"]], once=[1], ignored=[0])
    for name, letter in (("a", "F"), ("b", "S")):
        hand_all(run, name)
        end(run, name, 0, letter)
    run.open_gates()
    run.choose(lambda name: True)
    assert seen(run) == {"a": "Fq", "b": "S-"}


def test_with_all_gone_nobody_runs_it() -> None:
    run = build([block(0, 0), once(1, 1, ["a"])], [["a"], ["a"]], once=[1])
    hand_all(run, "a")
    end(run, "a", 0, "F")
    assert not run.over
    run.open_gates()
    assert not run.choose(lambda name: True)
    assert run.over and run.verdict() == "failed"


def test_a_job_that_waits_for_another_one_chooses_later() -> None:
    run = build([once(0, 0, ["a", "b"])], [["a", "b"]], once=[0], after="before")
    assert run.total == 0 and not run.over
    run.choose(lambda name: name == "b")
    assert seen(run) == {"a": "-", "b": "q"}


def test_what_is_cancelled_before_has_a_task_that_says_so() -> None:
    run = build([block(0, 0), once(1, 1, ["b", "c"])], [["a"], ["b", "c"]], once=[1])
    run.choose(lambda name: True, every=True)
    run.cancel("by root")
    assert seen(run) == {"a": "X-", "b": "-X", "c": "--"}


def test_what_ended_before_the_choice_says_nothing_of_the_step() -> None:
    plan = [block(0, 0, lane=1, group=1), once(1, 1, ["b"], gate=True), block(2, 2, 2, gate=True)]
    run = build(plan, [["a", "b"], ["b"], ["a"]], once=[1])
    rests = run.expire(run.nodes["b"], "late")
    assert [(rest.first, rest.last) for rest in rests] == [(0, 0), (2, 2)], "or it would be read as the step's end too"
    run.choose(lambda name: True, every=True)
    assert seen(run) == {"a": "q-q", "b": "Eq-"}


def test_a_restart_keeps_the_choice() -> None:
    stored = meta([block(0, 0), once(1, 1, ["b", "c"])], [["a"], ["b", "c"]], once=[1])
    run = JobRun.build("j", stored, 0.0, 60.0, ())
    hand_all(run, "a")
    end(run, "a", 0)
    run.open_gates()
    run.choose(lambda name: name == "c")
    held = {name: {"cursor": 0, "results": [], "range_ends": []} for name in run.nodes}
    held["a"] = {"cursor": 1, "results": [(0, "S")], "range_ends": []}
    again = JobRun.build("j", ujson.loads(ujson.dumps(stored)), 0.0, 60.0, ())
    restore(again, held)
    assert not again.choose(lambda name: True)
    assert seen(again) == {"a": "S-", "c": "-q"} and again.limit == run.limit


def test_passed() -> None:
    plan = [
        block(0, 1), block(2, 3, 1, gate=True, lane=1, group=1), block(4, 6, 2, lane=2, group=1),
        block(7, 7, 3, gate=True),
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
    run.open_gates()
    hand_all(run, "a")
    end(run, "a", 4)
    assert run.passed(a, 5) and not run.passed(a, 7)
    end(run, "a", 5, "F")
    end(run, "a", 2, "F")
    assert run.passed(a, 7), "a failure ends what follows"

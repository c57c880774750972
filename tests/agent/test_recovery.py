"""A client that is started again: which steps go on, which are lost, which values and failures it remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ujson
from server_side import HEAD, Side, step

from director import states as st
from director.agent.journal import Journal
from director.agent.profile import Profile
from director.agent.step_cache import CachedStep, StepCache
from director.verbs.base import Outcome


def row(number: int, letter: str = "S", effects: Any = None) -> list[Any]:
    return [number, letter, 0, 1.0, 2.0, 1.0, 0, 1, None, 0, 0, 0, effects]


def journal(folder: Path, steps: list[dict[str, Any]], *slices: tuple[int, int]) -> Journal:
    made = Journal.open(str(folder))
    chunk = ujson.dumps(steps).encode()
    for seq, (first, last) in enumerate(slices or ((0, len(steps) - 1),)):
        made.slice("j", HEAD if not seq else {}, first, last, chunk if not seq else b"")
    return made


def test_what_had_not_begun_goes_on_after_the_welcome(tmp_path: Path) -> None:
    made = journal(tmp_path, [step(0), step(1), step(2)])
    made.started("j", 0, 1)
    made.result("j", 0, row(0, effects={"env": {"A": "1"}}), b"")
    made.close()
    side = Side(tmp_path)
    side.rest()
    assert side.ran == []
    assert side.session.jobs["j"].cursor == 3
    side.welcome(j={"act": "go", "upto": 3})
    side.until(lambda: len(side.rows()) == 3)
    assert side.ran == [1, 2]
    assert side.scopes[1].env == {"A": "1"}, "what earlier steps set is remembered"
    side.end()


def test_what_was_running_is_lost_and_nothing_follows(tmp_path: Path) -> None:
    made = journal(tmp_path, [step(0), step(1)])
    made.started("j", 0, 1)
    made.close()
    side = Side(tmp_path)
    side.welcome(j={"act": "go", "upto": 2})
    side.until(side.rows)
    side.rest()
    assert (side.ran, side.rows()) == ([], [("j", 0, "L")])
    assert "outcome is unknown" in side.kinds("results")[0]["jobs"][0][1][0][8]
    side.end()
    again = Side(tmp_path)
    again.welcome(j={"act": "go", "upto": 2})
    again.until(again.rows)
    assert (again.ran, again.rows()) == ([], [("j", 0, "L")]), "it is lost once, and reported until it is stored"
    again.end()


def test_a_lost_step_stops_its_job_even_with_ignore_errors(tmp_path: Path) -> None:
    made = journal(tmp_path, [step(0, flags={"ignore-errors": True}), step(1)])
    made.started("j", 0, 1)
    made.close()
    side = Side(tmp_path)
    side.welcome(j={"act": "go", "upto": 2})
    side.until(side.rows)
    side.rest()
    assert side.ran == []
    side.end()


def test_an_attempt_is_lost_but_the_next_one_is_made(tmp_path: Path) -> None:
    made = journal(tmp_path, [step(0, flags={"retry": 3}), step(1)])
    made.started("j", 0, 2)
    made.close()
    side = Side(tmp_path)
    side.welcome(j={"act": "go", "upto": 2})
    side.until(lambda: side.rows() == [("j", 0, "S"), ("j", 1, "S")])
    assert side.kinds("results")[0]["jobs"][0][1][0][7] == 3
    side.end()


def test_what_was_lost_in_an_async_entry_stops_that_entry_only(tmp_path: Path) -> None:
    one, two = {"lane": 1, "group": 1, "stage": 0}, {"lane": 2, "group": 1, "stage": 1}
    made = journal(tmp_path, [step(0, **one), step(1, **one), step(2, **two), step(3, **two), step(4, stage=2)])
    made.started("j", 0, 1)
    made.started("j", 2, 1)
    made.result("j", 2, row(2, effects={"env": {"A": "2"}}), b"")
    made.close()
    side = Side(tmp_path)
    side.welcome(j={"act": "go", "upto": 5})
    side.until(lambda: len(side.rows()) == 4)
    assert side.ran == [3, 4]
    assert side.scopes[4].env == {"A": "2"}
    side.end()


def test_a_failure_before_the_death_still_stops_the_job(tmp_path: Path) -> None:
    made = journal(tmp_path, [step(0), step(1)])
    made.started("j", 0, 1)
    number = made.result("j", 0, row(0, "F"), b"")
    made.stored(number)
    made.close()
    side = Side(tmp_path)
    side.welcome(j={"act": "go", "upto": 2})
    side.rest()
    assert side.ran == []
    side.end()


def test_after_a_reboot_everything_handed_over_that_is_not_known_to_have_ended_is_lost(tmp_path: Path) -> None:
    made = journal(tmp_path, [step(n) for n in range(8)], (0, 2), (5, 6))
    made.started("j", 0, 1)
    made.result("j", 0, row(0), b"")
    made.close()
    side = Side(tmp_path, rebooted=True)
    side.welcome(j={"act": "go", "upto": 7})
    side.until(side.rows)
    side.rest()
    assert side.ran == []
    assert side.rows() == [("j", 0, "S"), ("j", 6, "L"), ("j", 5, "L"), ("j", 2, "L"), ("j", 1, "L")]
    side.end()


def test_a_cancelled_job_stays_cancelled(tmp_path: Path) -> None:
    made = journal(tmp_path, [step(0), step(1)])
    made.note("j", {"cancelled": "by root"})
    made.close()
    side = Side(tmp_path)
    side.welcome(j={"act": "cancel", "reason": "by root"})
    side.until(side.ranges)
    assert (side.ran, side.ranges()) == ([], [["j", 0, 1, "X", "by root"]])
    side.end()


def test_the_lost_step_of_a_cancelled_job_cuts_the_step_cache(tmp_path: Path) -> None:
    head = {**HEAD, "kind": "orchestrate"}
    cache = StepCache(str(tmp_path / "cache"))
    for number in range(2):
        stage = cache.of("earlier", head, step(0))
        stage.enter(number)
        stage.record(CachedStep(f"{number}"))
    cache.end("earlier")
    made = journal(tmp_path, [step(0), step(1)])
    made.note("j", {"cancelled": "by root"})
    made.slice("j", head, 0, 1, ujson.dumps([step(0), step(1)]).encode())
    made.started("j", 1, 1)
    made.close()
    side = Side(tmp_path, node=Profile(str(tmp_path), {}, StepCache(str(tmp_path / "cache"))))
    side.end()
    again = cache.load(head, step(0))
    again.enter(0)
    assert again.last is None


def test_several_chunks_of_one_slice_are_found_again(tmp_path: Path) -> None:
    made = Journal.open(str(tmp_path))
    first, second = ujson.dumps([step(0)]).encode(), ujson.dumps([step(2), step(3)]).encode()
    made.take("j", HEAD, [(0, 0), (2, 2), (3, 3)], [first, second, b""])
    made.take("j", {}, [(0, 0)], [first])  # given again without the others
    made.close()
    side = Side(tmp_path)
    side.welcome(j={"act": "go", "upto": 4})
    side.until(lambda: len(side.rows()) == 3)
    assert side.ran == [0, 2, 3]
    side.end()


def test_slices_that_came_in_another_order_are_run_in_theirs(tmp_path: Path) -> None:
    made = journal(tmp_path, [step(n) for n in range(4)], (0, 1), (2, 3))
    made.slice("j", {}, 0, 1, ujson.dumps([step(n) for n in range(4)]).encode())  # given again
    made.close()
    side = Side(tmp_path)
    side.welcome(j={"act": "go", "upto": 4})
    side.until(lambda: len(side.rows()) == 4)
    assert side.ran == [0, 1, 2, 3]
    side.end()


def test_a_result_of_a_job_that_was_closed_is_forgotten(tmp_path: Path) -> None:
    made = journal(tmp_path, [step(0)])
    made.closed("j")
    made.result("j", 0, row(0), b"")
    made.close()
    side = Side(tmp_path)
    assert not side.session.jobs
    assert not side.journal.jobs
    side.end()


def test_results_and_outputs_survive(tmp_path: Path) -> None:
    side = Side(tmp_path)
    side.outcomes[0] = lambda: Outcome(st.SUCCESS, 0, b"out", b"err")
    side.welcome()
    side.give("j", [step(0)])
    side.until(side.rows)
    side.end()
    again = Side(tmp_path)
    again.welcome(j={"act": "go", "upto": 1})
    _kind, fields, payload = next(sent for sent in again.sent if sent[0] == "results")
    assert (fields["jobs"][0][1][0][10:12], payload) == ([3, 3], b"outerr")
    again.end()

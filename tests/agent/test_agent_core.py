"""The client's side of the protocol: order, lanes, reconciling, cancel, drain, a full disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from server_side import Side, step

from director import states as st
from director.agent import session, step_runner
from director.errors import StoreError, VerbError
from director.protocol import messages
from director.protocol.results import TaskResult
from director.verbs.base import Outcome


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Side]]:
    made: list[Side] = []

    def begin(**more: Any) -> Side:
        made.append(Side(tmp_path, **more))
        return made[-1]

    yield begin
    for side in made:
        side.end()


@pytest.fixture
def side(start: Callable[..., Side]) -> Side:
    return start()


def failed() -> Outcome:
    return Outcome(st.FAILED, 1, b"", b"", "as asked")


def test_steps_run_one_after_another_and_are_reported(side: Side) -> None:
    side.welcome()
    side.give("j", [step(0), step(1), step(2)])
    side.until(lambda: len(side.rows()) == 3)
    assert side.ran == [0, 1, 2]
    assert side.rows() == [("j", 0, "S"), ("j", 1, "S"), ("j", 2, "S")]
    assert b"".join(payload for kind, _, payload in side.sent if kind == "results") == b"out 0out 1out 2"


def test_nothing_starts_before_the_welcome(side: Side) -> None:
    side.give("j", [step(0)])
    side.rest()
    assert side.ran == []
    side.welcome(j={"act": "go", "upto": 1})
    side.until(lambda: side.rows() == [("j", 0, "S")])


def test_results_wait_for_the_welcome_of_a_server_that_asked(side: Side) -> None:
    side.welcome()
    side.hold(1)
    side.give("j", [step(0), step(1)])
    side.until(lambda: side.rows() == [("j", 0, "S")])
    side.take("identify", v=messages.VERSION, within=0.0, known=True)
    side.until(lambda: side.kinds("hello"))
    side.go[1].set()
    side.until(lambda: side.ran == [0, 1])
    side.rest()
    assert side.rows() == [("j", 0, "S")], "a server that has not welcomed this client would drop it"
    side.welcome(j={"act": "go", "upto": 2})
    side.until(lambda: side.rows() == [("j", 0, "S"), ("j", 0, "S"), ("j", 1, "S")])


def test_a_hello_that_could_not_be_sent_is_sent_on_the_next_connection(side: Side) -> None:
    side.welcome()
    side.connected = False
    side.take("identify", v=messages.VERSION, within=0.0, known=True)
    side.until(lambda: side.session.ignores_slices)
    side.connected = True
    side.take("identify", v=messages.VERSION, within=0.0, known=True)
    side.until(lambda: side.kinds("hello"))


def test_nothing_starts_after_three_silent_beats(side: Side) -> None:
    side.welcome()
    side.hold(0)
    side.give("j", [step(0), step(1)])
    side.until(lambda: side.ran == [0])
    side.session.pulse.heard -= 100
    side.session.heartbeat()
    side.go[0].set()
    side.rest()
    assert side.ran == [0]
    assert side.rows() == [], "and nothing is reported"
    side.welcome(j={"act": "go", "upto": 2})
    side.until(lambda: side.rows() == [("j", 0, "S"), ("j", 1, "S")])


def test_a_heartbeat_is_left_out_while_results_and_acknowledgements_pass_but_not_for_ever(side: Side) -> None:
    def beats() -> int:
        return sum(kind == "heartbeat" for kind, _, _ in side.sent)

    side.welcome()
    side.session.heartbeat()
    assert beats() == 1, "nothing was sent lately"
    side.give("j", [step(0)])
    side.until(side.rows)
    for _ in range(session.UNSENT_MOST):
        side.session.heartbeat()
    assert beats() == 1
    side.session.heartbeat()
    assert beats() == 2
    side.session.slice_error = "no room"
    side.session.heartbeat()
    assert beats() == 3, "the server does not know that yet"
    side.session.pulse.heard -= side.session.pulse.interval
    side.session.heartbeat()
    assert beats() == 4, "the server was not heard lately"


def test_a_result_that_cannot_be_journaled_is_reported_by_the_next_heartbeat(side: Side) -> None:
    full, keep = [True], side.journal.result

    def result(*args: Any) -> int:
        if full:
            raise StoreError("cannot write spool/1: No space left on device")
        return keep(*args)

    side.welcome()
    side.journal.result = result  # type: ignore[method-assign]
    side.give("j", [step(0)])
    side.until(lambda: side.session.trouble)
    side.session.heartbeat()
    assert side.kinds("heartbeat")[-1]["trouble"] == (
        "the result of step 1 of job j cannot be kept: cannot write spool/1: No space left on device"
    )
    full.clear()
    side.until(lambda: side.rows() == [("j", 0, "S")])
    side.session.heartbeat()
    assert side.kinds("heartbeat")[-1]["trouble"] == ""


def test_a_failure_ends_the_job_here(side: Side) -> None:
    side.welcome()
    side.outcomes[0] = failed
    side.give("j", [step(0), step(1)])
    side.until(side.rows)
    side.give("j", [step(2)], seq=2)
    side.rest()
    assert (side.ran, side.rows()) == ([0], [("j", 0, "F")])


def test_an_ignored_failure_ends_nothing(side: Side) -> None:
    side.welcome()
    side.outcomes[0] = failed
    side.give("j", [step(0, flags={"ignore-errors": True}), step(1)])
    side.until(lambda: side.rows() == [("j", 0, "F"), ("j", 1, "S")])
    assert side.kinds("results")[0]["jobs"][0][1][0][8] == "ignored: as asked"


def test_a_step_that_breaks_its_verb_is_a_failure(side: Side) -> None:
    def broken() -> Outcome:
        raise KeyError("oh")

    side.welcome()
    side.outcomes[0] = broken
    side.give("j", [step(0), step(1)])
    side.until(lambda: side.rows() == [("j", 0, "F")])


def test_attempts_are_made_until_one_is_well(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_runner, "RETRY_FIRST", 0.0)
    outcomes = iter([failed(), failed(), Outcome(st.SUCCESS)])
    side.welcome()
    side.outcomes[0] = lambda: next(outcomes)
    side.give("j", [step(0, flags={"retry": 5})])
    side.until(side.rows)
    assert side.ran == [0, 0, 0]
    assert side.kinds("results")[-1]["jobs"][0][1][0][7] == 3


def test_the_same_steps_given_again_run_once(side: Side) -> None:
    side.welcome()
    for seq in (1, 2):
        side.give("j", [step(0), step(1)], seq)
    side.give("j", [step(1), step(2)], 3)
    side.until(lambda: len(side.rows()) == 3)
    side.rest()
    assert side.ran == [0, 1, 2]


def test_async_entries_run_side_by_side_and_what_follows_waits_for_all(side: Side) -> None:
    side.welcome()
    side.hold(0, 2)
    one, two = {"lane": 1, "group": 1, "stage": 0}, {"lane": 2, "group": 1, "stage": 1}
    side.outcomes[0] = lambda: Outcome(st.SUCCESS, effects={"env": {"A": "1", "B": "1"}})
    side.outcomes[3] = lambda: Outcome(st.SUCCESS, effects={"env": {"A": "2"}, "workdir": "/w"})
    side.give("j", [step(0, **one), step(1, **one), step(2, **two), step(3, **two), step(4, stage=2)])
    side.until(lambda: sorted(side.ran) == [0, 2])
    side.go[2].set()
    side.until(lambda: 3 in side.ran)
    side.rest()
    assert sorted(side.ran) == [0, 2, 3]
    side.go[0].set()
    side.until(lambda: len(side.rows()) == 5)
    assert side.ran[-2:] == [1, 4]
    assert side.scopes[1].env == {"A": "1", "B": "1"}, "an entry does not see its neighbours' values"
    assert side.scopes[4].env == {"A": "2", "B": "1"}, "the values are joined in file order"
    assert side.scopes[4].workdir == ""


def test_a_failure_in_an_async_entry_leaves_the_others(side: Side) -> None:
    side.welcome()
    side.outcomes[0] = failed
    one, two = {"lane": 1, "group": 1}, {"lane": 2, "group": 1}
    side.give("j", [step(0, **one), step(1, **one), step(2, **two), step(3, **two), step(4, stage=1)])
    side.until(lambda: len(side.rows()) == 4)
    assert sorted(side.ran) == [0, 2, 3, 4]


def test_only_so_many_run_at_once(start: Callable[..., Side]) -> None:
    side = start(concurrency=2)
    side.welcome()
    side.hold(0)
    for job in "abc":
        side.give(job, [step(0)])
    side.until(lambda: len(side.ran) == 2)
    side.rest()
    assert len(side.ran) == 2
    side.go[0].set()
    side.until(lambda: len(side.rows()) == 3)


def test_cancel_ends_what_runs_and_what_waits(side: Side) -> None:
    side.welcome()
    side.hold(1)
    side.give("j", [step(0), step(1), step(2)])
    side.until(lambda: side.ran == [0, 1])
    side.take("cancel", jobs=[["j", "by root"]])
    side.until(side.ranges)
    assert side.rows() == [("j", 0, "S"), ("j", 1, "X")]
    assert side.ranges() == [["j", 0, 2, "X", "by root"]]
    assert side.journal.jobs["j"].notes == {"cancelled": "by root"}


def test_a_cancellation_is_reported_again_until_the_server_closes_the_job(side: Side) -> None:
    side.welcome()
    side.give("j", [step(0)])
    side.until(side.rows)
    side.take("cancel", jobs=[["j", "by root"]])
    side.until(side.ranges)
    side.welcome(j={"act": "cancel", "reason": "by root"})
    assert len(side.ranges()) == 2
    number = side.kinds("results")[-1]["number"]
    side.take("ack", number=number, close=["j"])
    assert not side.session.jobs
    assert not side.journal.jobs


def test_a_dropped_job_is_forgotten_when_nothing_of_it_is_unreported(side: Side) -> None:
    side.welcome()
    side.give("j", [step(0)])
    side.until(side.rows)
    side.welcome(j={"act": "drop"})
    assert "j" in side.session.jobs, "its result may still be shown as late"
    assert side.rows() == [("j", 0, "S")] * 2
    side.take("ack", number=side.kinds("results")[-1]["number"], close=["j"])
    assert not side.session.jobs
    side.give("k", [step(0)])
    side.until(lambda: ("k", 0, "S") in side.rows())
    side.take("ack", number=side.kinds("results")[-1]["number"], close=[])
    side.welcome(k={"act": "drop"})
    assert not side.session.jobs


def test_running_steps_are_reported_again_after_a_welcome(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_runner, "RUNNING_AFTER", 0.001)
    side.hold(0)
    side.welcome()
    side.give("j", [step(0)])

    def begun() -> int:
        return sum(len(entry[2]) for fields in side.kinds("results") for entry in fields["jobs"])

    side.until(lambda: begun() == 1)
    side.welcome(j={"act": "go", "upto": 1})
    side.until(lambda: begun() == 2)
    side.go[0].set()
    side.until(side.rows)


def test_after_a_slice_that_was_not_taken_all_are_ignored_until_the_welcome(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    side.welcome()
    side.session.pulse.interval = 0.01
    side.give("j", [step(0)])
    side.until(side.rows)
    take = side.journal.take

    def full(*args: Any) -> None:
        raise StoreError("no space left on device")

    monkeypatch.setattr(side.journal, "take", full)
    side.give("j", [step(1)], 2)
    monkeypatch.setattr(side.journal, "take", take)
    side.give("j", [step(2)], 3)
    hello = side.until(lambda: side.kinds("hello"))[0]
    assert hello["jobs"] == [["j", 1]]
    assert side.ran == [0]
    side.welcome(j={"act": "go", "upto": 1})
    side.give("j", [step(1), step(2)], 4)
    side.until(lambda: side.ran == [0, 1, 2])


def test_a_full_disk_delays_steps_and_results_and_loses_none(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_runner, "DISK_AGAIN", 0.001)
    left = {"started": 2, "result": 2}

    def failing(name: str) -> None:
        well = getattr(side.journal, name)

        def call(*args: Any) -> Any:
            if left[name]:
                left[name] -= 1
                raise StoreError("no space left on device")
            return well(*args)

        monkeypatch.setattr(side.journal, name, call)

    failing("started")
    failing("result")
    side.welcome()
    side.give("j", [step(0), step(1)])
    side.until(lambda: side.rows() == [("j", 0, "S"), ("j", 1, "S")])
    assert left == {"started": 0, "result": 0}


def test_drain_starts_nothing_new_and_ends_what_runs(side: Side) -> None:
    side.welcome()
    side.hold(0)
    side.give("j", [step(0), step(1)])
    side.until(lambda: side.ran == [0])
    side.runner.drain(0.0)
    assert side.rows() == [("j", 0, "F")]
    assert side.kinds("results")[-1]["jobs"][0][1][0][8] == "client stopped"
    side.rest()
    assert side.ran == [0]


def test_drain_lets_running_steps_finish_in_time(side: Side) -> None:
    side.welcome()
    side.hold(0)
    side.give("j", [step(0), step(1)])
    side.until(lambda: side.ran == [0])
    draining = gevent.spawn(side.runner.drain, 10.0)
    side.until(lambda: side.runner.draining)
    side.go[0].set()
    draining.join(10)
    assert side.rows() == [("j", 0, "S")]
    assert side.ran == [0]


def test_attempts_that_the_end_of_the_client_takes_are_named(side: Side) -> None:
    side.welcome()
    side.hold(0)
    side.outcomes[0] = failed
    side.give("j", [step(0, flags={"retry": 3})])
    side.until(lambda: side.ran == [0])
    draining = gevent.spawn(side.runner.drain, 10.0)
    side.until(lambda: side.runner.draining)
    side.go[0].set()
    draining.join(10)
    assert side.ran == [0]
    assert side.kinds("results")[-1]["jobs"][0][1][0][8] == "as asked; client stopped before attempt 2 of 3"


def test_steps_behind_a_run_once_step_of_another_node_wait_for_its_end(side: Side) -> None:
    side.runner.slots.free = side.runner.slots.count = 1
    side.welcome()
    one, two = {"lane": 1, "group": 1, "stage": 0}, {"lane": 2, "group": 1, "stage": 1}
    first = [step(1, **one, behind=0), step(2, **one, behind=0)]
    second = [step(3, **two), step(4, **two), step(5, **two, behind=4)]  # 4 is its own
    side.give("j", [*first, *second, step(6, stage=2)])
    side.until(lambda: ("j", 5, "S") in side.rows())
    assert side.kinds("run_once_wait") == [{"job": "j", "step": 1}], "for its own run-once step it need not ask"
    assert side.ran == [3, 4, 5]
    side.session.suspend()
    side.welcome(j={"act": "go", "upto": 7})
    assert side.kinds("run_once_wait") == [{"job": "j", "step": 1}] * 2, "asked again"
    side.take("run_once_ended", job="j", step=5, error="")
    side.take("run_once_ended", job="j", step=1, error="")
    side.until(lambda: ("j", 6, "S") in side.rows())
    assert side.ran == [3, 4, 5, 1, 2, 6] and len(side.kinds("run_once_wait")) == 2


def test_steps_behind_a_run_once_step_that_failed_are_neither_run_nor_reported(side: Side) -> None:
    side.welcome()
    side.give("j", [step(0), step(2, behind=1), step(3, behind=1)])
    side.until(lambda: side.kinds("run_once_wait"))
    side.take("run_once_ended", job="j", step=2, error="no")
    side.rest()
    side.give("j", [step(4, behind=1)], seq=2)
    side.rest()
    assert (side.ran, side.rows(), side.ranges()) == ([0], [("j", 0, "S")], [])
    side.take("ack", number=0, close=["j"])
    assert not side.session.jobs


def test_steps_behind_a_run_once_step_can_be_cancelled_and_closed(side: Side) -> None:
    side.welcome()
    side.give("j", [step(1, behind=0)])
    side.give("k", [step(1, behind=0)], seq=2)
    side.until(lambda: len(side.kinds("run_once_wait")) == 2)
    side.take("cancel", jobs=[["j", "by root"]])
    side.until(side.ranges)
    assert side.ranges() == [["j", 0, 1, "X", "by root"]]
    side.take("ack", number=0, close=["j", "k"])
    side.rest()
    assert not side.session.jobs and side.ran == []


def test_the_hello_names_the_jobs_held(side: Side) -> None:
    side.welcome()
    side.give("j", [step(0), step(1)])
    side.take("identify", v=messages.VERSION, within=0, known=True)
    hello = side.until(lambda: side.kinds("hello"))[0]
    assert hello["jobs"] == [["j", 2]]
    assert hello["instance"] == side.journal.instance
    assert hello["journal_position"] <= side.journal.position


def test_an_unknown_message_changes_nothing(side: Side) -> None:
    side.agent.take([b"[]"])
    side.take("heartbeat", journal_position=1)
    assert side.sent == []


def test_every_kind_of_message_of_the_server_has_a_handler(side: Side) -> None:
    kinds = {kind for kind, spec in messages.KINDS.items() if spec.sender != "client"}
    of_the_real_client = {"contents", "dry_run", "rotate", "key_noted"}
    assert side.agent.handlers.keys() | of_the_real_client == kinds


def test_a_server_of_another_version_gets_no_hello(side: Side) -> None:
    """It gets a request that it refuses, so that its log has the client's version."""
    side.take("identify", v=99, within=0, known=True)
    side.rest()
    assert [(kind, fields["v"]) for kind, fields, _ in side.sent] == [("enroll", messages.VERSION)]


@pytest.mark.parametrize(
    "user", ["4294967295", "0:4294967295", "99999999999999999999", "nobody-here", ":no-group-here"]
)
def test_users_that_cannot_be(user: str) -> None:
    from director.agent.local_node import numbers_of

    with pytest.raises(VerbError, match=r"is no number of a user|there is no"):
        numbers_of(user)
    assert numbers_of("4294967294:7") == (4294967294, 7)


def test_results_that_a_restored_server_has_lost_are_sent_again(side: Side) -> None:
    side.welcome()
    side.hold(3)
    side.give("j", [step(0), step(1), step(2), step(3)])
    side.until(lambda: len(side.rows()) == 3)
    side.take("ack", number=side.kinds("results")[-1]["number"], close=[])
    first = [row for fields in side.kinds("results") for row in fields["jobs"][0][1]]
    side.sent.clear()
    side.welcome(j={"act": "go", "upto": 4, "open": 1})
    assert side.rows() == [], "the server has all results"
    side.welcome(j={"act": "go", "upto": 4, "open": 4})
    assert side.rows() == [("j", 0, "S"), ("j", 1, "S"), ("j", 2, "S")]
    again = [row for fields in side.kinds("results") for row in fields["jobs"][0][1]]
    assert [row[:6] for row in again] == [row[:6] for row in first]
    assert [row[9:12] for row in again] == [[5, 0, 0]] * 3, "the outputs are gone, and count as truncated"
    side.go[3].set()
    side.until(lambda: ("j", 3, "S") in side.rows())
    assert side.ran == [0, 1, 2, 3]


def test_results_of_steps_that_are_given_again_are_sent_again(side: Side) -> None:
    side.welcome()
    side.give("j", [step(0), step(1)])
    side.until(lambda: len(side.rows()) == 2)
    side.take("ack", number=side.kinds("results")[-1]["number"], close=[])
    side.sent.clear()
    side.give("j", [step(1), step(2)], 2)
    side.until(lambda: len(side.rows()) == 2)
    assert (side.rows(), side.ran) == ([("j", 1, "S"), ("j", 2, "S")], [0, 1, 2])


@pytest.mark.parametrize("state", [st.SUCCESS, st.FAILED])
def test_values_too_large_for_a_message_fail_the_step(side: Side, state: int) -> None:
    text = "\ufffd" * (step_runner.EFFECTS_LIMIT // 6 + 1)
    side.welcome()
    side.outcomes[0] = lambda: Outcome(state, 0, b"out", b"", "", effects={"arg": {"A": text}})
    side.give("j", [step(0)])
    side.until(side.rows)
    row = TaskResult._make(side.kinds("results")[0]["jobs"][0][1][0])
    assert (row.state, row.effects) == ("F", None) and "the values it set" in row.reason
    assert "A" not in side.session.jobs["j"].scopes.main.args

"""The sequence of events: numbers, what is forgotten, tasks by reference, readers that wait."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
import ujson

from director.runtime.greenlets import spawn
from director.server import events
from director.server.events import Events


class Run:
    """A job of which only the counts matter."""

    def __init__(self, job: str) -> None:
        self.id, self.done = job, 0

    def tasks(self) -> dict[str, int]:
        return {"total": 9, "success": self.done}


def read(sequence: Events, number: int = 1) -> list[dict[str, Any]]:
    return [ujson.loads(event.encoded()) for event in sequence.since(number)[0]]


def test_numbers_rise_and_a_reader_goes_on_from_any_of_them() -> None:
    sequence = Events()
    for name in ("a", "b", "c"):
        sequence.job(name, "queued", name=f"job {name}")
    assert [(row["number"], row["job"], row["name"]) for row in read(sequence)] == [
        (1, "a", "job a"), (2, "b", "job b"), (3, "c", "job c"),
    ]  # fmt: skip
    assert [row["job"] for row in read(sequence, 3)] == ["c"]
    assert read(sequence, 4) == [] and sequence.next == 4
    assert all(row["at"].endswith("Z") and row["kind"] == "job" for row in read(sequence))


def test_changed_tasks_of_a_job_are_one_event_made_when_somebody_reads() -> None:
    sequence, run = Events(), Run("j")
    for done, node in enumerate(("n1", "n2", "n1"), 1):
        run.done = done
        sequence.tasks(run, node)  # type: ignore[arg-type]
    (row,) = read(sequence)
    assert (row["kind"], row["nodes"], row["tasks"]["success"]) == ("tasks", ["n1", "n2"], 3)
    assert read(sequence, 2) == []
    sequence.tasks(run, "n3")  # type: ignore[arg-type]
    sequence.job("j", "success", final=True)
    assert [row["kind"] for row in read(sequence, 2)] == ["tasks", "job"], "in the order in which it happened"


def test_an_event_names_no_more_nodes_than_its_bound() -> None:
    sequence, run = Events(), Run("j")
    for number in range(events.MANY):
        sequence.tasks(run, f"n{number}")  # type: ignore[arg-type]
    assert len(read(sequence)[0]["nodes"]) == events.MANY
    for number in range(events.MANY + 1):
        sequence.tasks(run, f"n{number}")  # type: ignore[arg-type]
    assert read(sequence, 2)[0]["nodes"] is None


def test_a_node_that_stays_as_it_was_is_no_event() -> None:
    sequence = Events()
    sequence.know({"old": "offline"})
    sequence.node("old", "offline")
    sequence.node("old", "online")
    sequence.node("new", "online")
    sequence.node("new", "online")
    sequence.node("new", None)
    found = [(row["node"], row["state"], row["new"]) for row in read(sequence)]
    assert found == [("old", "online", False), ("new", "online", True), ("new", "forgotten", False)]


def test_orders_and_keys_that_wait() -> None:
    sequence = Events()
    sequence.waits("web-1")
    sequence.order("revoke-node", "ann")
    found = [{name: row[name] for name in row if name not in ("at", "number")} for row in read(sequence)]
    assert found == [
        {"kind": "enrolment", "node": "web-1", "state": "pending"},
        {"kind": "order", "order": "revoke-node", "by": "ann"},
    ]


def test_the_oldest_events_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEPT", 3)
    sequence = Events()
    for number in range(5):
        sequence.job(f"j{number}", "queued")
    assert [row["job"] for row in read(sequence, 3)] == ["j2", "j3", "j4"]
    assert sequence.since(1)[1] == 2, "events that are missed"
    assert [sequence.has(sequence.epoch, number) for number in (2, 3, 6, 7)] == [False, True, True, False]
    assert not sequence.has("of an earlier server", 3)


def test_names_of_nodes_are_bounded_over_all_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "NAMES", 10)
    sequence, run = Events(), Run("j")
    for round_ in range(4):
        for number in range(4):
            sequence.tasks(run, f"n{round_}-{number}")  # type: ignore[arg-type]
        read(sequence, sequence.next)
    found, missed = sequence.since(1)
    assert (len(found), missed) == (2, 2)


def test_many_events_come_in_several_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "AT_ONCE", 2)
    sequence = Events()
    for number in range(5):
        sequence.job(f"j{number}", "queued")
    assert [row["number"] for row in read(sequence)] == [1, 2]
    assert [row["number"] for row in read(sequence, 3)] == [3, 4]
    assert [row["number"] for row in read(sequence, 5)] == [5]


def test_readers_wait_until_something_happens() -> None:
    sequence = Events()
    readers = [spawn("reader", sequence.wait, 60.0, vital=False) for _ in range(3)]
    gevent.sleep(0)
    sequence.node("n", "online")
    gevent.joinall(readers, timeout=60)
    assert [reader.value for reader in readers] == [True] * 3
    assert not sequence.wait(0.0)

"""QUERY's answers are never older than the values they must have, however quickly one ask follows another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
import ujson
from gevent.event import Event
from gevent.queue import Queue

from director import states as st
from director.scheduler import ends
from director.scheduler.build import new_run
from director.server.roster import NodeRecord, Roster
from director.server.value_queries import ValueQueries


class Scheduler:
    """One open job: a RUN that sets OWN, then a QUERY of it, on a and b; b was offline when it began."""

    def __init__(self, wait: bool) -> None:
        exchange = {"1": {"kind": "query", "name": "OWN", "others": [], "wait": wait}}
        stages, blocks = [{"name": "", "nodes": ["a", "b"]}], [{"first": 0, "last": 1, "stage": 0}]
        chunks = [{"first": 0, "contents": {}}]
        meta = {"step_count": 2, "stages": stages, "blocks": blocks, "chunks": chunks, "exchange": exchange}
        self.run = new_run("j", meta, ["b"])
        self.runs = {"j": self.run}
        self.changed = Event()


class Scene:
    """The queries of that job and what the nodes were answered."""

    def __init__(self, wait: bool) -> None:
        self.scheduler, self.roster, self.answers = Scheduler(wait), Roster(), Queue()
        for name in ("a", "b"):
            self.roster.add(NodeRecord(name, f"key of {name}", online=name == "a"))
        self.queries = ValueQueries(self.scheduler, self.roster, self.send, 0.0)  # type: ignore[arg-type]

    def send(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...]) -> bool:
        if frames[0]:
            self.answers.put((record.name, ujson.loads(frames[0])))
        return True

    def passes(self, name: str) -> None:
        """The node is online, has run the RUN, and runs the QUERY."""
        node, record = self.scheduler.run.nodes[name], self.roster.nodes[name]
        record.online = True
        self.scheduler.run.hand_out(node, 2)
        record.args["OWN"] = f"of {name}"
        ends.end(self.scheduler.run, node, 0, st.SUCCESS)
        self.scheduler.run.begin(node, 1, 0.0)

    def answer_to(self, name: str) -> Any:
        self.queries.ask(self.roster.nodes[name], {"job": "j", "step": 1, "name": "OWN"}, b"")
        return self.answers.get(timeout=120)


@pytest.fixture(params=[True, False], ids=["waits", "no-wait"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    yield Scene(request.param)
    gevent.sleep(0)


def test_an_answer_has_the_own_value_and_that_of_who_has_passed_since(scene: Scene) -> None:
    scene.passes("a")
    assert scene.answer_to("a") == ("a", {"a": {"OWN": "of a"}})
    scene.passes("b")
    both = {"a": {"OWN": "of a"}, "b": {"OWN": "of b"}}
    assert scene.answer_to("b") == ("b", both)
    assert scene.answer_to("a") == ("a", both)


def test_half_a_character_of_one_node_fails_no_step_of_others(scene: Scene) -> None:
    for name in ("a", "b"):
        scene.passes(name)
    scene.roster.nodes["b"].args["OWN"] = "\ud800é"
    assert scene.answer_to("a") == ("a", {"a": {"OWN": "of a"}, "b": {"OWN": "\ufffdé"}})

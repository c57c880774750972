"""Acknowledgements are gathered: each node gets its newest number with all jobs to close, and in time."""

from __future__ import annotations

from typing import Any

import pytest
import ujson
from gevent.queue import Queue

from director.server import node_sender as module
from director.server.node_sender import LARGE, MANY, NodeSender
from director.server.roster import NodeRecord, Roster


class Scene:
    """Two nodes and the messages they get."""

    def __init__(self) -> None:
        self.sent: Queue[tuple[str, str, dict[str, Any]]] = Queue()
        self.there = True
        router: Any = self
        self.roster = Roster()
        self.sender = NodeSender(router, self.roster)
        self.a, self.b = (NodeRecord(name, name) for name in "ab")
        for record in (self.a, self.b):
            self.roster.add(record)
            self.roster.attach(record, record.name.encode())

    def send(self, peer: bytes, header: bytes, *frames: bytes) -> bool:
        """Stands for the ROUTER."""
        self.sent.put((peer.decode(), *ujson.loads(header)))
        return self.there

    def stored(self, record: NodeRecord, number: int, *close: str, size: int = 1) -> None:
        self.sender.stored(record, record.name.encode(), number, list(close), size)

    def next(self) -> tuple[str, str, dict[str, Any]]:
        return self.sent.get(timeout=120)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_each_node_gets_its_newest_number_and_all_jobs_to_close(scene: Scene) -> None:
    scene.stored(scene.a, 1, "j")
    scene.stored(scene.b, 7)
    scene.stored(scene.a, 2, "k")
    assert [scene.next(), scene.next()] == [
        ("a", "ack", {"number": 2, "close": ["j", "k"]}),
        ("b", "ack", {"number": 7, "close": []}),
    ]
    assert scene.sent.empty()


@pytest.mark.parametrize(("count", "size"), [(MANY, 1), (1, LARGE)])
def test_a_node_whose_window_is_full_gets_its_acknowledgement_at_once(scene: Scene, count: int, size: int) -> None:
    for number in range(1, count + 1):
        scene.stored(scene.a, number, size=size)
    assert scene.sent.get_nowait() == ("a", "ack", {"number": count, "close": []})


def test_acknowledgements_wait_a_bounded_time_while_results_come(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.1)
    number = 0
    while scene.sent.empty():
        number += 1
        scene.stored(scene.b if number % 2 else scene.a, number)
        module.gevent.sleep(0.02)
    assert scene.next()[0] in ("a", "b")


def test_another_connection_of_the_node_gets_no_acknowledgement_of_the_first(scene: Scene) -> None:
    scene.stored(scene.a, 5, "j")
    scene.roster.attach(scene.a, b"another")
    scene.stored(scene.a, 6)  # of the first, too
    scene.sender.stored(scene.a, b"another", 1, [], 1)
    assert scene.next() == ("another", "ack", {"number": 1, "close": []})
    assert scene.sent.empty()


def test_a_message_comes_after_the_acknowledgement_of_its_node(scene: Scene) -> None:
    scene.stored(scene.a, 1, "j")
    scene.stored(scene.b, 2)
    assert scene.sender.send(scene.a, b'["slice", {}]')
    found = [scene.sent.get_nowait(), scene.sent.get_nowait()]
    assert found == [("a", "ack", {"number": 1, "close": ["j"]}), ("a", "slice", {})]
    assert scene.sent.empty()
    assert scene.next()[0] == "b"


def test_a_node_whose_connection_is_gone_must_say_hello_again(scene: Scene) -> None:
    scene.there = False
    assert not scene.sender.send(scene.a, b'["slice", {}]')
    assert scene.a.peer is None
    assert not scene.sender.send(scene.a, b'["slice", {}]')
    assert scene.sent.qsize() == 1

"""Acknowledgements are gathered: each node gets its newest with all jobs to close, and nobody is kept waiting."""

from __future__ import annotations

from typing import Any

import pytest
import ujson
from gevent.queue import Queue

from director.server import acknowledgements as module
from director.server.acknowledgements import LARGE, MANY, Acknowledgements
from director.server.roster import NodeRecord


class Scene:
    """Two nodes and what they are told."""

    def __init__(self) -> None:
        self.told: Queue[tuple[str, dict[str, Any]]] = Queue()
        self.acks = Acknowledgements(self.send)
        self.a, self.b = (NodeRecord(name, name, peer=name.encode()) for name in "ab")

    def send(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...]) -> bool:
        self.told.put((record.name, ujson.loads(header)[1]))
        return True

    def stored(self, record: NodeRecord, number: int, *close: str, size: int = 1) -> None:
        self.acks.stored(record, record.name.encode(), number, list(close), size)

    def next(self) -> tuple[str, dict[str, Any]]:
        return self.told.get(timeout=10)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_newest_of_each_node_goes_with_all_that_may_be_forgotten(scene: Scene) -> None:
    scene.stored(scene.a, 1, "j")
    scene.stored(scene.b, 7)
    scene.stored(scene.a, 2, "k")
    assert [scene.next(), scene.next()] == [("a", {"n": 2, "close": ["j", "k"]}), ("b", {"n": 7, "close": []})]
    assert scene.told.empty()


@pytest.mark.parametrize(("count", "size"), [(MANY, 1), (1, LARGE)])
def test_one_that_may_be_waiting_is_told_at_once(scene: Scene, count: int, size: int) -> None:
    for number in range(1, count + 1):
        scene.stored(scene.a, number, size=size)
    assert scene.told.get_nowait() == ("a", {"n": count, "close": []})


def test_while_results_keep_coming_they_wait_a_second_at_most(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.1)
    number = 0
    while scene.told.empty():
        number += 1
        scene.stored(scene.b if number % 2 else scene.a, number)
        module.gevent.sleep(0.02)
    assert scene.next()[0] in ("a", "b")


def test_another_connection_of_the_node_is_told_nothing_of_the_first(scene: Scene) -> None:
    scene.stored(scene.a, 5, "j")
    scene.a.peer = b"another"
    scene.stored(scene.a, 6)  # of the first, too
    scene.acks.stored(scene.a, b"another", 1, [], 1)
    assert scene.next() == ("a", {"n": 1, "close": []})
    assert scene.told.empty()


def test_what_goes_to_the_node_otherwise_comes_behind_its_acknowledgement(scene: Scene) -> None:
    scene.stored(scene.a, 1, "j")
    scene.stored(scene.b, 2)
    scene.acks.flush(scene.a)
    assert scene.told.get_nowait() == ("a", {"n": 1, "close": ["j"]})
    assert scene.told.empty()
    assert scene.next()[0] == "b"

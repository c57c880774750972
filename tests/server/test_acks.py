"""Acknowledgements are gathered: each node gets its newest number with all jobs to close, and in time."""

from __future__ import annotations

from typing import Any

import pytest
import ujson
from gevent.queue import Queue

from director.server import acknowledgements as module
from director.server.acknowledgements import LARGE, MANY, Acknowledgements
from director.server.roster import NodeRecord


class Scene:
    """Two nodes and the acknowledgements they get."""

    def __init__(self) -> None:
        self.sent: Queue[tuple[str, dict[str, Any]]] = Queue()
        self.acks = Acknowledgements(self.send)
        self.a, self.b = (NodeRecord(name, name, peer=name.encode()) for name in "ab")

    def send(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...]) -> bool:
        self.sent.put((record.name, ujson.loads(header)[1]))
        return True

    def stored(self, record: NodeRecord, number: int, *close: str, size: int = 1) -> None:
        self.acks.stored(record, record.name.encode(), number, list(close), size)

    def next(self) -> tuple[str, dict[str, Any]]:
        return self.sent.get(timeout=10)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_each_node_gets_its_newest_number_and_all_jobs_to_close(scene: Scene) -> None:
    scene.stored(scene.a, 1, "j")
    scene.stored(scene.b, 7)
    scene.stored(scene.a, 2, "k")
    assert [scene.next(), scene.next()] == [
        ("a", {"number": 2, "close": ["j", "k"]}),
        ("b", {"number": 7, "close": []}),
    ]
    assert scene.sent.empty()


@pytest.mark.parametrize(("count", "size"), [(MANY, 1), (1, LARGE)])
def test_a_node_whose_window_is_full_gets_its_acknowledgement_at_once(scene: Scene, count: int, size: int) -> None:
    for number in range(1, count + 1):
        scene.stored(scene.a, number, size=size)
    assert scene.sent.get_nowait() == ("a", {"number": count, "close": []})


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
    scene.a.peer = b"another"
    scene.stored(scene.a, 6)  # of the first, too
    scene.acks.stored(scene.a, b"another", 1, [], 1)
    assert scene.next() == ("a", {"number": 1, "close": []})
    assert scene.sent.empty()


def test_a_flush_sends_the_acknowledgement_of_one_node(scene: Scene) -> None:
    scene.stored(scene.a, 1, "j")
    scene.stored(scene.b, 2)
    scene.acks.flush(scene.a)
    assert scene.sent.get_nowait() == ("a", {"number": 1, "close": ["j"]})
    assert scene.sent.empty()
    assert scene.next()[0] == "b"

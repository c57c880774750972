"""One subscription for any number of viewers; a slow one loses pieces and slows nobody; nobody sends unasked."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest
import ujson

from director import states as st
from director.errors import BusyError, ProtocolError
from director.protocol.results import TaskResult
from director.server import live_output
from director.server.live_output import LiveOutput
from director.server.roster import NodeRecord, Roster


class Node:
    """A job on one node: step 0 runs, step 1 has ended, step 2 was not sent."""

    def __init__(self) -> None:
        self.states, self.cursor, self.open = bytearray((st.RUNNING, st.SUCCESS, st.QUEUED)), 2, 2


class Run:
    def __init__(self, job: str, *nodes: str) -> None:
        self.id, self.nodes = job, {name: Node() for name in nodes}


class Scene:
    def __init__(self) -> None:
        self.roster, self.told = Roster(), []  # type: ignore[var-annotated]
        for name in ("a", "b"):
            self.roster.add(NodeRecord(name, f"key {name}", online=True, peer=name.encode()))
        self.live = LiveOutput(self, self.send)  # type: ignore[arg-type]
        self.run = Run("j", "a", "b")

    def online(self, name: str) -> NodeRecord | None:
        return self.roster.nodes.get(name)

    def send(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...]) -> bool:
        fields = ujson.loads(header)[1]
        self.told.append((record.name, fields["on"]))
        return True

    def open(self, nodes: Any = None, step: Any = None) -> Any:
        return self.live.open(self.run, nodes, step)  # type: ignore[arg-type]

    def piece(self, node: str, offset: int, data: bytes, step: int = 0, job: str = "j") -> None:
        self.live.take(self.roster.nodes[node], {"pieces": [[job, step, 1, 0, offset, len(data)]]}, data)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def data_of(viewer: Any) -> list[tuple[str, int, bytes]]:
    return [(found["node"], found["offset"], b64decode(found["data"])) for found in map(ujson.loads, viewer.take()[0])]


def test_viewers_share_what_a_node_sends_once(scene: Scene) -> None:
    with scene.open() as first, scene.open(frozenset("a")) as second:
        assert scene.told == [("a", True), ("b", True), ("a", True)]
        scene.piece("a", 0, b"one")
        scene.piece("b", 0, b"two")
        assert data_of(first) == [("a", 0, b"one"), ("b", 0, b"two")]
        assert data_of(second) == [("a", 0, b"one")]
        assert data_of(first) == [] and not first.has_more()
        scene.told.clear()
    assert sorted(scene.told) == [("a", False), ("b", False)], "told once, when the last viewer has left"
    assert scene.live._kept == live_output.deque(), "nothing is kept for nobody"


def test_pieces_that_nobody_asked_for_are_dropped(scene: Scene) -> None:
    scene.piece("a", 0, b"unasked")
    with scene.open() as viewer:
        for step, job in ((1, "j"), (2, "j"), (7, "j"), (0, "other")):
            scene.piece("a", 0, b"x", step, job)
        del scene.run.nodes["b"]
        scene.piece("b", 0, b"x")
        assert data_of(viewer) == []


@pytest.mark.parametrize(
    "piece", [[], ["j"], ["j", 0, 1, 2, 0, 1], ["j", -1, 1, 0, 0, 1], ["j", 0, 1, 0, "0", 1], None]
)
def test_a_malformed_piece_is_refused(scene: Scene, piece: Any) -> None:
    with scene.open(), pytest.raises(ProtocolError):
        scene.live.take(scene.roster.nodes["a"], {"pieces": [piece]}, b"x")


def test_a_slow_viewer_loses_pieces_and_learns_that(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_output, "KEPT", 5000)
    with scene.open() as slow, scene.open() as quick:
        seen = []
        for number in range(200):
            scene.piece("a", number * 10, b"0123456789")
            seen += data_of(quick)
        assert [offset for _, offset, _ in seen] == [number * 10 for number in range(200)]
        found = data_of(slow)
        assert slow.behind and not quick.behind
        assert found[-1][1] == 1990 and 0 < len(found) < 60
        assert scene.live._bytes <= 5000


def test_tasks_that_ended_are_named_after_their_pieces(scene: Scene) -> None:
    scene.live.ended("j", "a", [TaskResult(0, "S")])
    with scene.open(step=0) as viewer:
        scene.piece("a", 0, b"x")
        scene.live.ended("j", "a", [TaskResult(0, "S"), TaskResult(1, "S")])
        pieces, ended = viewer.take()
        assert (len(pieces), ended) == (1, [(0, "a")])


def test_a_node_that_comes_back_is_told_again(scene: Scene) -> None:
    record = scene.roster.nodes["a"]
    record.jobs["j"] = None
    scene.live.online(record)
    with scene.open(frozenset("a")):
        scene.live.online(record)
        assert scene.told == [("a", True), ("a", True)]
        scene.live.online(scene.roster.nodes["b"])
        assert len(scene.told) == 2


def test_nodes_that_join_the_job_are_followed(scene: Scene) -> None:
    with scene.open() as viewer:
        scene.roster.add(NodeRecord("c", "key c", online=True, peer=b"c"))
        scene.run.nodes["c"] = Node()
        scene.live.refresh(viewer)
        scene.live.refresh(viewer)
        assert scene.told.count(("c", True)) == 1


def test_nodes_slow_down_when_many_are_followed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_output, "MESSAGES", 25.0)
    live = LiveOutput(scene, scene.send)  # type: ignore[arg-type]
    with live.open(scene.run, frozenset("a"), None):  # type: ignore[arg-type]
        assert scene.told == [("a", True)]
        with live.open(Run("k", "a", "b"), None, None):  # type: ignore[arg-type]
            assert scene.told.count(("a", True)) == 4, "the pace of both jobs is told again"


def test_the_number_of_viewers_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_output, "VIEWERS", 1)
    with scene.open(), pytest.raises(BusyError):
        scene.open()
    with scene.open():
        pass

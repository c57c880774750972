"""Labels in the roster: what is recorded, what is left out, and what nodes and planners hear of it."""

from __future__ import annotations

from typing import Any, ClassVar

import ujson

from director.protocol.messages import KINDS
from director.server.node_labels import NodeLabels
from director.server.roster import NodeRecord


class Scene:
    """Labels of one node that is online."""

    def __init__(self) -> None:
        self.record = NodeRecord("a", "k", online=True)
        self.sent: list[Any] = []
        self.noted: list[str] = []
        self.labels = NodeLabels(self._send, lambda name, record: self.noted.append(name))

    def _send(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...]) -> bool:
        kind, fields = ujson.loads(header)
        assert len(header) <= KINDS[kind].header
        self.sent.append(fields["labels"])
        return True


class Run:
    """A job with LABEL steps 1, the same on each node, and 3, another on each."""

    id = "j"
    meta: ClassVar[dict[str, Any]] = {"labels": {"1": {"sets": [{"x": "1", "y": "1"}], "of": {}},
                                                 "3": {"sets": [{"x": "a"}, {"x": ""}], "of": {"a": 1}}}}  # fmt: skip


def test_a_change_is_recorded_sent_and_noted_once() -> None:
    scene = Scene()
    assert scene.labels.change(scene.record, {"x": "1", "y": ""}) == [("node", {"name": "a", "labels": {"x": "1"}})]
    assert scene.labels.change(scene.record, {"x": "1"}) == []
    assert scene.sent == [{"x": "1"}] and scene.noted == ["a"]


def test_labels_of_steps_come_from_the_plan() -> None:
    scene, run = Scene(), Run()
    assert scene.labels.take_steps(run, scene.record, [0, 2]) == []  # type: ignore[arg-type]
    (_, line) = scene.labels.take_steps(run, scene.record, [0, 1, 2])  # type: ignore[arg-type]
    assert line[0] == "audit" and line[1]["nodes"] == ["a"]
    assert line[1]["entry"]["labels"] == {"x": "1", "y": "1"} and line[1]["entry"]["job"] == "j"
    assert scene.record.labels == {"x": "1", "y": "1"}
    scene.labels.take_steps(run, scene.record, [1, 3])  # type: ignore[arg-type]
    assert scene.record.labels == {"y": "1"}


def test_too_many_labels_are_left_out() -> None:
    scene = Scene()
    scene.labels.change(scene.record, {f"l{number}": "v" for number in range(1000)})
    assert scene.labels.change(scene.record, {"one": "more"}) == [] and len(scene.record.labels) == 1000
    assert scene.labels.change(scene.record, {"one": "more", "l0": ""})
    assert not scene.labels.change(scene.record, {"one": "\0" * 65536})


def test_the_largest_labels_fit_their_message() -> None:
    scene = Scene()
    assert scene.labels.change(scene.record, {"k": "\0" * 65535})
    assert scene.sent == [{"k": "\0" * 65535}]


def test_a_profile_changes_no_label() -> None:
    record = NodeRecord("a", "k", labels={"tier": "web"})
    record.take_profile({"facts": {}, "args": {}, "labels": {"tier": "db"}})
    assert record.labels == {"tier": "web"}

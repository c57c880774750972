"""A node may request and offer only what the plan has for a step that it runs now; all else is refused."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
import ujson
from gevent.event import Event

from director.errors import ProtocolError
from director.scheduler.build import new_run
from director.server.node_transfer import NodeTransfer
from director.server.roster import NodeRecord, Roster
from director.server.value_queries import ValueQueries, value_of

KINDS: dict[str, dict[str, Any]] = {
    "0": {"kind": "query", "name": "TOKEN", "others": ["out"], "wait": True},
    "1": {"kind": "copy", "from": "c", "sets": [["/f"]], "exclude": [], "hidden": True, "parents": False},
    "2": {"kind": "fetch", "folder": "/out"},
}


class Scheduler:
    """The one open job: three steps on a and b."""

    def __init__(self) -> None:
        block = {"first": 0, "last": 2, "stage": 0}
        meta = {"step_count": 3, "stages": [{"name": "", "nodes": ["a", "b"]}], "blocks": [block], "exchange": KINDS}
        meta["chunks"] = [{"first": 0, "contents": {}}]
        self.run = new_run("j", meta, ())
        self.runs = {"j": self.run}
        self.changed = Event()

        self.submitters = {"j": (7, 8)}


class Supervisor:
    """Stands for the files process."""

    ready = True

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        self.frames.append(header)


class Scene:
    """A node transfer and value queries with nodes a, b (of the job), c (of none) and out."""

    def __init__(self) -> None:
        self.scheduler, self.roster, self.sent = Scheduler(), Roster(), []  # type: ignore[var-annotated]
        for name in ("a", "b", "c", "out"):
            record = NodeRecord(name, f"key of {name}", online=name != "out", args={"TOKEN": f"t-{name}"})
            record.heard = 0.0
            self.roster.add(record)
        scheduler: Any = self.scheduler
        blobs: Any = None  # no step has sources that differ
        self.transfer = NodeTransfer(scheduler, self.roster, self.send, blobs, {}, lambda why: None)
        self.handlers = {**self.transfer.handlers, "query": ValueQueries(scheduler, self.roster, self.send, 0.0).ask}
        self.child = Supervisor()
        self.transfer._child = self.child  # type: ignore[assignment]
        run = self.scheduler.run
        run.hand_out(run.nodes["a"], 3)

    def send(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...]) -> bool:
        kind, fields = ujson.loads(header)
        self.sent.append((record.name, kind, fields, frames[0] if frames else b""))
        return True

    def say(self, node: str, kind: str, **fields: Any) -> Any:
        """Let the node send a message; the messages that are sent at once."""
        self.sent.clear()
        self.handlers[kind](self.roster.nodes[node], {"job": "j", "set": 0, **fields}, b"[]")
        return list(self.sent)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize(
    ("node", "fields"),
    [
        ("a", {"job": "other", "step": 0, "name": "TOKEN"}),
        ("a", {"step": 1, "name": "TOKEN"}),
        ("a", {"step": 99, "name": "TOKEN"}),
        ("a", {"step": -3, "name": "TOKEN"}),
        ("a", {"step": 0, "name": "PASSWORD"}),
        ("a", {"step": 0, "name": ""}),
        ("b", {"step": 0, "name": "TOKEN"}),
        ("c", {"step": 0, "name": "TOKEN"}),
    ],
)
def test_only_nodes_whose_plan_has_the_query_get_values(scene: Scene, node: str, fields: dict[str, Any]) -> None:
    ((to, kind, answer, body),) = scene.say(node, "query", **fields)
    assert (to, kind, body) == (node, "query_values", b"") and answer["error"]
    gevent.sleep(0.05)
    assert len(scene.sent) == 1


def test_a_query_waits_for_online_nodes_and_reads_others_too(scene: Scene) -> None:
    run = scene.scheduler.run
    run.hand_out(run.nodes["b"], 3)
    for node in ("a", "b"):
        scene.say(node, "query", step=0, name="TOKEN")
    gevent.sleep(0.1)
    answers = {to: ujson.loads(body) for to, kind, fields, body in scene.sent}
    assert answers["b"] == {name: {"TOKEN": f"t-{name}"} for name in ("a", "b", "out")}


@pytest.mark.parametrize(
    ("node", "fields"),
    [
        ("a", {"step": 0}),
        ("a", {"step": 1, "set": 1}),
        ("a", {"step": 1, "set": -1}),
        ("b", {"step": 1}),
        ("c", {"step": 1}),
    ],
)
def test_only_nodes_whose_plan_has_the_copy_get_files(scene: Scene, node: str, fields: dict[str, Any]) -> None:
    ((to, kind, answer, body),) = scene.say(node, "borrow", **fields)
    assert (to, kind, body) == (node, "sources", b"") and answer["error"]


def test_a_source_is_asked_once_for_what_the_plan_says(scene: Scene) -> None:
    run = scene.scheduler.run
    run.hand_out(run.nodes["b"], 3)
    sent = scene.say("a", "borrow", step=1) + scene.say("b", "borrow", step=1)
    lends = [(to, fields) for to, kind, fields, _ in sent if kind == "lend"]
    assert [to for to, _ in lends] == ["c"] and lends[0][1]["patterns"] == ["/f"]
    assert all(fields["why"] == "c is being read" for _, kind, fields, _ in sent if kind == "sources")
    digest = "d" * 64
    assert not scene.transfer.lent(run, 1, "a", digest)
    scene.say("c", "offer", step=1, part=0, parts=1, error="")
    key = scene.child.frames[-1]["offer"]
    assert key == ("j", 1, 0, "c") and "land" not in scene.child.frames[-1]
    scene.sent.clear()
    scene.transfer._take(scene.child, {"lent": key, "digests": [digest], "more": True}, b"")  # type: ignore[arg-type]
    scene.transfer._take(scene.child, {"lent": key, "digests": [], "more": False, "error": ""}, b"{}")  # type: ignore[arg-type]
    assert sorted(to for to, kind, _, _ in scene.sent if kind == "sources") == ["a", "b"]
    assert scene.transfer.lent(run, 1, "a", digest)
    assert not any(scene.transfer.lent(run, step, "a", digest) for step in (0, 2))
    scene.scheduler.runs.clear()
    scene.transfer.tick()
    assert not scene.transfer.lent(run, 1, "a", digest)
    assert scene.child.frames[-1] == {"over": "j"}


@pytest.mark.parametrize(
    ("node", "fields"),
    [("a", {"step": 0}), ("a", {"step": 1}), ("a", {"step": 2, "set": 1}), ("b", {"step": 2}), ("c", {"step": 2})],
)
def test_an_offer_that_the_plan_does_not_have_is_refused(scene: Scene, node: str, fields: dict[str, Any]) -> None:
    scene.say("a", "borrow", step=1)  # c is asked to lend; a and b are not
    ((to, kind, answer, _),) = scene.say(node, "offer", part=0, parts=1, error="", **fields)
    assert (to, kind) == (node, "stored") and answer["error"]
    assert not scene.child.frames


def test_the_plan_says_where_fetched_files_go(scene: Scene) -> None:
    scene.say("a", "offer", step=2, part=0, parts=1, error="")
    assert scene.child.frames[0]["land"] == {"folder": "/out", "uid": 7, "gid": 8}
    scene.say("a", "contents", step=2, ranges=[], error="")
    assert scene.child.frames[1]["contents"] == ("j", 2, 0, "a")
    with pytest.raises(ProtocolError):
        scene.say("b", "contents", step=2, ranges=[], error="")


def test_values_of_a_node() -> None:
    record = NodeRecord("n", "k", args={"A": "1", "arch": "mine"}, facts='{"arch": "x", "os": {"id": "d", "v": [1]}}')
    found = {name: value_of(record, name) for name in ("A", "arch", "os.id", "os", "os.v", "os.no", "os.id.x", "B", "")}
    assert found == {
        "A": "1", "arch": "mine", "os.id": "d", "os": {"id": "d", "v": [1]}, "os.v": [1], "os.no": None,
        "os.id.x": None, "B": None, "": None,
    }  # fmt: skip

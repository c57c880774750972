"""A slice is sent when a message can carry it, else its tasks fail with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
import ujson
from gevent import Greenlet
from gevent.queue import Queue

from director.protocol import messages
from director.protocol.results import TaskResult
from director.runtime.greenlets import spawn
from director.server import dispatcher
from director.server.acceptance import Accepted
from director.server.node_labels import NodeLabels
from director.server.roster import NodeRecord, Roster
from director.server.scheduler import Scheduler
from director.stores import open_store
from director.workers import ledger as ledger_process

META = {
    "step_count": 3,
    "stages": [{"name": "", "nodes": ["a", "b"]}],
    "blocks": [{"first": 0, "last": 2, "stage": 0}],
    "chunks": [{"first": 0, "contents": {}}],
    "seeded": ["a"],
}
LIMIT = 4000
STEPS = [{"i": index, "stage": 0, "lane": 0, "verb": "RUN"} for index in range(3)]


class Ledger:
    """A store whose writes are durable at once."""

    def __init__(self) -> None:
        self.store = open_store("memory:", "")
        self.seeds = ledger_process.Seeds(self.store)

    def write(self, *ops: Any, then: Any = None, refusable: bool = False, lazy: bool = False) -> None:
        self.store.apply([(op[0], ujson.loads(ujson.dumps(op[1])), *op[2:]) for op in ops])
        if then is not None:
            then(None)

    commit = write

    def ask(self, name: str, **args: Any) -> bytes:
        return (
            self.seeds.seed(args["job"], args["node"])
            if name == "seed"
            else self.store.chunk(args["job"], args["step"])
        )


class Scene:
    """The job `old` on a and b, of which a has run the first step well; it recorded a value there."""

    def __init__(self) -> None:
        self.ledger, self.roster, self.sent = Ledger(), Roster(), Queue()  # type: ignore[var-annotated]
        for name in ("a", "b"):
            self.roster.add(NodeRecord(name, f"key of {name}", online=True))
            self.roster.attach(self.roster.nodes[name], name.encode())
        ledger: Any = self.ledger
        self.scheduler = Scheduler(
            ledger, self.roster, self.send, 100.0, NodeLabels(self.send, lambda name, record: None)
        )

    def send(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...]) -> bool:
        kind, fields = ujson.loads(header)
        self.sent.put((record.name, kind, fields, frames))
        return True

    def record(self, job: str, **more: Any) -> dict[str, Any]:
        return {
            "id": job, "name": job, "kind": "exec", "created_at": 1.0, "submitted_by": "ann", "digest": job,
            "options": {}, "digests": {}, **more,
        }  # fmt: skip

    def resume(self, size: int) -> None:
        """Accept a job that resumes `old`, in which the value was so many characters long."""
        fields = self.record("old", meta=META, step_count=3, node_count=2, task_count=6, nodes=["a", "b"])
        self.ledger.write(("accept", fields, [ujson.dumps(STEPS).encode()]))
        done = TaskResult(0, "S", 0, 1.0, 2.0, effects={"args": {"V": "x" * size}})
        self.ledger.write(("results", {"job": "old", "node": "a", "results": [done]}, b""))
        record = self.record("new", resumes="old")
        self.scheduler.accept([Accepted(dict(META), [], record, {"a": "100"})])


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    running: list[Greenlet] = []

    def start(*args: Any, **options: Any) -> Greenlet:
        running.append(spawn(*args, **options))
        return running[-1]

    monkeypatch.setattr(dispatcher, "spawn", start)
    monkeypatch.setattr(messages, "PAYLOAD_LIMIT", LIMIT)
    monkeypatch.setattr(ledger_process, "PAYLOAD_LIMIT", LIMIT)
    yield Scene()
    for greenlet in running:
        greenlet.kill()


def test_the_recorded_values_go_with_the_first_slice(scene: Scene) -> None:
    scene.resume(100)
    slices = {name: (fields["parts"], frames) for name, _, fields, frames in (scene.sent.get(timeout=99) for _ in "ab")}
    parts, (head, chunk) = slices["a"]
    assert parts == [[1, 2]] and ujson.loads(chunk) == STEPS
    assert ujson.loads(head)["seed"][0]["effects"] == {"args": {"V": "x" * 100}}
    assert slices["b"][0] == [[0, 2]] and "seed" not in ujson.loads(slices["b"][1][0])


@pytest.mark.parametrize("size", [LIMIT - 200, LIMIT])
def test_more_values_than_a_message_carries_fail_the_next_step(scene: Scene, size: int) -> None:
    scene.resume(size)
    assert scene.sent.get(timeout=120)[0] == "b"
    run = scene.scheduler.runs["new"]
    with gevent.Timeout(120):
        while run.nodes["a"].open:
            scene.scheduler.changed.wait()
    assert run.nodes["a"].states == b"CFK"
    info = ujson.loads(b"".join(scene.ledger.store.job_info("new", {})))
    tasks = {(step["index"], task["node"]): task for step in info["steps"] for task in step["tasks"]}
    assert "come to more than 64 MiB" in tasks[1, "a"]["reason"]
    assert "step 2 failed" in tasks[2, "a"]["reason"]
    assert scene.sent.empty()


def test_small_chunks_of_a_node_go_in_one_message(scene: Scene) -> None:
    blocks = [{"first": step, "last": step, "stage": 0, "nodes": ["b"] if step == 1 else None} for step in range(3)]
    chunks = [{"first": step, "contents": {}} for step in range(3)]
    plan = {"step_count": 3, "stages": META["stages"], "blocks": blocks, "chunks": chunks}
    bodies = [ujson.dumps([step]).encode() for step in STEPS]
    scene.scheduler.accept([Accepted(plan, bodies, scene.record("new"))])
    slices = {name: (fields["parts"], frames) for name, _, fields, frames in (scene.sent.get(timeout=99) for _ in "ab")}
    assert slices["a"][0] == [[0, 0], [2, 2]] and slices["a"][1][1:] == (bodies[0], bodies[2])
    assert slices["b"][0] == [[0, 0], [1, 1], [2, 2]] and slices["b"][1][1:] == tuple(bodies)
    assert slices["a"][1][0] == slices["b"][1][0], "the head is the same for every node"
    assert scene.sent.empty()

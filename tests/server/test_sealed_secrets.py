"""A node gets its own box and the secrets of its own steps, from memory or the ledger, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import ujson

from director.protocol import messages
from director.protocol.sealing import to_text
from director.scheduler.build import new_run
from director.server import sealed_secrets as module
from director.server.roster import NodeRecord
from director.server.sealed_secrets import Sealed, SealedSecrets

SEALED = Sealed({"x": b"cipher x", "y": b"cipher y"}, {"a": b"box a", "c": b"box c"}, {"a": "k", "c": "k"})


class Ledger:
    """Has what was sealed."""

    def ask(self, name: str, job: str, node: str) -> bytes:
        secrets = {name: to_text(text) for name, text in SEALED.secrets.items()}
        return ujson.dumps({"box": to_text(SEALED.boxes.get(node, b"")), "secrets": secrets}).encode()


class Scene:
    """A job `j` of two stages: `x` is for steps of both, `y` for the second."""

    def __init__(self) -> None:
        stages = [{"name": "", "nodes": ["a", "b"]}, {"name": "", "nodes": ["c"]}]
        blocks = [{"first": 0, "last": 1, "stage": 0}, {"first": 2, "last": 3, "stage": 1}]
        meta = {"step_count": 4, "stages": stages, "blocks": blocks, "chunks": [{"first": 0, "contents": {}}]}
        self.run = new_run("j", {**meta, "secrets": {"x": [[1, 2]], "y": [[3, 3]]}}, ())
        for name, cursor in (("a", 2), ("b", 2), ("c", 4)):
            self.run.hand_out(self.run.nodes[name], cursor)
        self.sent: list[tuple[dict[str, Any], list[bytes]]] = []
        ledger: Any = Ledger()
        self.secrets = SealedSecrets({"j": self.run}, ledger, self.send)

    def send(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...]) -> bool:
        kind, fields, payload = messages.decode([header, *frames], "server")
        assert (kind, fields["job"]) == ("secrets", self.asked["job"])
        self.sent.append((fields, payload))
        return True

    def get(self, node: str, step: int, job: str = "j") -> Any:
        """The names and bodies, or the error."""
        self.asked = {"job": job, "step": step}
        self.secrets.get(NodeRecord(node, "k"), self.asked, b"")
        fields, payload = self.sent.pop()
        return fields["error"] or (fields["names"], payload)


@pytest.mark.parametrize("kept", [True, False])
def test_a_node_gets_its_box_and_the_secrets_of_its_steps(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "spawn", lambda name, do, *args, vital: do(*args))
    scene = Scene()
    if kept:
        scene.secrets.keep("j", SEALED)
    assert scene.get("a", 1) == (["x"], [b"box a", b"cipher x"])
    assert scene.get("c", 2) == (["x", "y"], [b"box c", b"cipher x", b"cipher y"])
    assert scene.get("b", 1) == "nothing was sealed for this node"


def test_what_a_node_was_not_given_it_cannot_ask_for() -> None:
    scene = Scene()
    scene.secrets.keep("j", SEALED)
    refused = "this node was not given this step"
    assert [scene.get("a", 2), scene.get("a", -1), scene.get("d", 1), scene.get("a", 1, "k")] == [refused] * 4
    scene.run.take_back(scene.run.nodes["c"], 3)
    assert scene.get("c", 3) == refused


def test_the_oldest_jobs_give_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY", 2 * SEALED.size)
    scene = Scene()
    for job in ("j", "k", "l"):
        scene.secrets.keep(job, SEALED)
    monkeypatch.setattr(
        module, "spawn", lambda *args, **options: scene.secrets._refuse(NodeRecord("a", "k"), "j", 1, "read")
    )
    assert scene.get("a", 1) == "read"
    for job in ("j", "k", "l"):
        scene.secrets.forget(job)
    assert scene.secrets._size == 0

"""Tasks with secrets of a node that has other keys than before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from director import states as st
from director.scheduler.build import new_run
from director.scheduler.job_state import JobRun, RangeEnd
from director.server.presence import Presence
from director.server.roster import NodeRecord, Roster

FORMER = "sealed for the former key"


class Scene:
    """A node `a` with a job of three steps, the last of which uses a secret."""

    def __init__(self) -> None:
        meta = {
            "step_count": 3, "stages": [{"name": "", "nodes": ["a", "b"]}],
            "blocks": [{"first": 0, "last": 2, "stage": 0}], "chunks": [{"first": 0, "contents": {}}],
            "secrets": {"x": [[2, 2]]},
        }  # fmt: skip
        self.run, self.other = new_run("j", meta, ()), new_run("k", {**meta, "secrets": {}}, ())
        self.ended: list[RangeEnd] = []
        self.record = NodeRecord("a", "k", sealing="old")
        self.record.jobs = {"j": self.run.nodes["a"], "k": self.other.nodes["a"]}
        roster = Roster()
        roster.add(self.record)
        jobs: Any = SimpleNamespace(runs={"j": self.run, "k": self.other})
        lifecycle: Any = SimpleNamespace(end=self.end)
        none: Any = None
        self.presence = Presence(jobs, roster, lifecycle, none, 300.0)

    def end(self, run: JobRun, ends: list[RangeEnd]) -> None:
        self.ended += ends


def test_what_waits_expires_with_its_job_on_the_node() -> None:
    scene = Scene()
    scene.run.hand_out(scene.run.nodes["a"], 1)
    scene.presence.expire_sealed(scene.record)
    assert scene.ended == [RangeEnd("a", 1, 2, st.EXPIRED, FORMER)]
    assert scene.run.nodes["b"].open == 3 and scene.other.nodes["a"].open == 3


def test_what_no_longer_needs_a_secret_goes_on() -> None:
    scene = Scene()
    scene.run.hand_out(scene.run.nodes["a"], 3)
    scene.presence.expire_sealed(scene.record)
    assert scene.ended == []


def test_a_key_that_changed_while_the_caller_sealed_is_noticed() -> None:
    scene = Scene()
    scene.presence.end_sealed(scene.run, {"a": "old", "b": "old", "c": "old"})
    assert scene.ended == []
    scene.presence.end_sealed(scene.run, {"a": "older"})
    assert scene.ended == [RangeEnd("a", 0, 2, st.EXPIRED, FORMER)]

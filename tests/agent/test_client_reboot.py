"""Two jobs that want the host restarted at the same time do not wait for each other: one restart serves both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gevent
import ujson
from simulation.client import MemoryJournal, SimulatedNode

from director import states as st
from director.agent.core import Agent
from director.agent.node_transfer import NodeTransfer
from director.agent.reboot import Rebooter, came_back
from director.agent.session import Session
from director.verbs.base import Outcome


class Notes(MemoryJournal):
    """A journal whose notes can be read."""

    def __init__(self) -> None:
        super().__init__("here")
        self.notes: dict[str, Any] = {}

    def note(self, job: str, facts: dict[str, Any]) -> None:
        self.notes.setdefault(job, {}).update(facts)


def test_one_restart_serves_all_that_ask(tmp_path: Path) -> None:
    marks, notes, ended = tmp_path / "marks", Notes(), []

    def apply(runner: Any, job: Any, scope: Any, step: Any, running: Any) -> Outcome:
        if step["verb"] == "REBOOT":
            return rebooter.reboot(job, running, 0.0, 60.0)
        ended.append(job.id)
        return Outcome()

    session = Session("node", notes, SimulatedNode(), lambda *parts: True)
    agent = Agent(session, apply, NodeTransfer(session))
    session.outbox.open = True
    rebooter = Rebooter(agent.runner, "boot-1", f"sh -c 'echo down >> {marks}'", {b"PATH": b"/usr/bin:/bin"})
    head = ujson.dumps({"name": "n", "kind": "exec", "options": {}}).encode()

    def give(job: str, verb: str) -> None:
        chunk = ujson.dumps([{"i": 0, "verb": verb, "stage": 0, "flags": {}, "body": {}}]).encode()
        agent.table.take_slice({"seq": 1, "job": job, "parts": [[0, 0]]}, head, chunk)

    give("a", "REBOOT")
    give("b", "REBOOT")
    gevent.sleep(0)
    session.reconciled.set()  # both have their slots, and begin
    with gevent.Timeout(120):
        while not (marks.exists() and session.away_until):
            gevent.sleep(0.01)
    give("c", "RUN")
    gevent.sleep(0.1)
    assert ended == [] and marks.read_text() == "down\n"
    assert {job: note["reboot"]["boot"] for job, note in notes.notes.items()} == dict.fromkeys("ab", "boot-1")
    agent.table.cancel({"jobs": [["a", "why"], ["b", "why"]]})
    with gevent.Timeout(120):
        while not ended:
            gevent.sleep(0.01)
    assert ended == ["c"], "other tasks start again"
    assert notes.notes["a"]["reboot"] is notes.notes["b"]["reboot"] is None and not session.away_until


def test_the_next_client_knows_how_a_reboot_ended() -> None:
    note = {"boot": "one", "until": 4e9}
    assert came_back(note, "two") == (st.SUCCESS, "")
    assert came_back(note, "one")[0] == st.FAILED
    assert came_back({**note, "until": 1.0}, "two")[0] == st.TIMEOUT

"""Two jobs that want the host restarted at one moment do not wait for each other, and one restart serves both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gevent
import ujson

from director import states as st
from director.agent.core import Agent
from director.agent.journal.base import MemoryJournal
from director.agent.reboot import Rebooter, came_back
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

    def apply(agent: Any, held: Any, scope: Any, step: Any, running: Any) -> Outcome:
        if step["verb"] == "REBOOT":
            return rebooter.reboot(held, running, 0.0, 60.0)
        ended.append(held.job)
        return Outcome()

    agent = Agent("node", notes, apply, lambda: {"facts": {}, "labels": {}, "args": {}})
    agent.outbox.open = True
    rebooter = Rebooter(agent, "boot-1", f"sh -c 'echo down >> {marks}'", {b"PATH": b"/usr/bin:/bin"})
    head = ujson.dumps({"name": "n", "kind": "exec", "options": {}, "stages": [""]}).encode()

    def give(job: str, verb: str) -> None:
        chunk = ujson.dumps([{"i": 0, "verb": verb, "stage": 0, "flags": {}, "body": {}}]).encode()
        agent.handle_slice({"seq": 1, "job": job, "chunk": 0, "parts": [[0, 0]]}, [chunk, head])

    give("a", "REBOOT")
    give("b", "REBOOT")
    gevent.sleep(0)
    agent.settled.set()  # both have their places, and begin
    with gevent.Timeout(10):
        while not (marks.exists() and agent.away_until):
            gevent.sleep(0.01)
    give("c", "RUN")
    gevent.sleep(0.1)
    assert ended == [] and marks.read_text() == "down\n"
    assert {job: note["reboot"]["boot"] for job, note in notes.notes.items()} == dict.fromkeys("ab", "boot-1")
    agent.handle_cancel({"jobs": [["a", "why"], ["b", "why"]]}, [])
    with gevent.Timeout(10):
        while not ended:
            gevent.sleep(0.01)
    assert ended == ["c"], "nothing is held back any more"
    assert notes.notes["a"]["reboot"] is notes.notes["b"]["reboot"] is None and not agent.away_until


def test_the_client_that_is_back_knows_how_it_ended() -> None:
    note = {"boot": "one", "until": 4e9}
    assert came_back(note, "two") == (st.SUCCESS, "")
    assert came_back(note, "one")[0] == st.FAILED
    assert came_back({**note, "until": 1.0}, "two")[0] == st.TIMEOUT

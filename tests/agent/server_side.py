"""An agent with a journal on disk and a server that the test plays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import ujson
from gevent.event import Event
from simulation.client import SimulatedNode

from director import states as st
from director.agent.core import Agent
from director.agent.journal import Journal
from director.agent.node_transfer import NodeTransfer
from director.agent.recovery import take_up
from director.agent.session import Session
from director.protocol import messages
from director.verbs.base import Outcome

HEAD = {"name": "n", "kind": "exec", "options": {"args": {}}, "stages": [""]}


def step(number: int, **more: Any) -> dict[str, Any]:
    flags = more.pop("flags", {})
    return {"i": number, "verb": "RUN", "text": "RUN x", "stage": 0, "line": 1, "flags": flags, "body": {}, **more}


class Side:
    """One client in `folder`; `outcomes` has the outcomes of steps (default: success), steps in `go` wait."""

    def __init__(self, folder: Path, rebooted: bool = False, concurrency: int = 8, node: Any = None) -> None:
        self.journal = Journal.open(str(folder))
        self.sent: list[tuple[str, dict[str, Any], bytes]] = []
        self.ran: list[int] = []
        self.outcomes: dict[int, Callable[[], Outcome]] = {}
        self.scopes: dict[int, Any] = {}
        self.go: dict[int, Event] = {}
        self.connected = True
        self.session = Session("n1", self.journal, node or SimulatedNode(), self._send)
        self.agent = Agent(self.session, self._apply, NodeTransfer(self.session), concurrency)
        self.runner = self.agent.runner
        take_up(self.agent.table, rebooted)

    def _apply(self, runner: Any, job: Any, scope: Any, one: dict[str, Any], running: Any) -> Outcome:
        number = one["i"]
        self.ran.append(number)
        self.scopes[number] = scope.copy()
        if number in self.go:
            self.go[number].wait()
        return self.outcomes.get(number, lambda: Outcome(st.SUCCESS, 0, b"out %d" % number))()

    def _send(self, header: bytes, payload: bytes = b"") -> bool:
        if self.connected:
            kind, fields, _ = messages.decode([header], "client")
            self.sent.append((kind, fields, payload))
        return self.connected

    def hold(self, *numbers: int) -> None:
        self.go.update((number, Event()) for number in numbers)

    def take(self, kind: str, *frames: bytes, **fields: Any) -> None:
        self.agent.take([messages.encode(kind, **fields), *frames])

    def welcome(self, **orders: Any) -> None:
        self.take("welcome", v=1, interval=10.0, now=1e9, jobs=orders, labels={})

    def give(self, job: str, steps: list[dict[str, Any]], seq: int = 1) -> None:
        parts = []
        for number in (one["i"] for one in steps):
            if parts and parts[-1][1] == number - 1:
                parts[-1][1] = number
            else:
                parts.append([number, number])
        head, chunk = ujson.dumps(HEAD).encode(), ujson.dumps(steps).encode()
        self.take("slice", head, chunk, *[b""] * (len(parts) - 1), seq=seq, job=job, parts=parts)

    def until(self, check: Callable[[], Any]) -> Any:
        """What `check` gives as soon as it is true."""
        with gevent.Timeout(120):
            while not check():
                gevent.sleep(0.001)
        return check()

    def rest(self) -> None:
        """Let every greenlet run that can."""
        for _ in range(20):
            gevent.sleep(0)

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        return [fields for name, fields, _ in self.sent if name == kind]

    def rows(self) -> list[tuple[str, int, str]]:
        """(job, step, letter) of all results in the order they went."""
        jobs = [entry for fields in self.kinds("results") for entry in fields["jobs"]]
        return [(job, row[0], row[1]) for job, rows, _, _ in jobs for row in rows]

    def ranges(self) -> list[Any]:
        return [[job, *ends] for f in self.kinds("results") for job, _, _, ranges in f["jobs"] for ends in ranges]

    def end(self) -> None:
        """The process dies as it is."""
        self.connected = False
        self.journal.close()

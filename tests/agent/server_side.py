"""An agent with a journal on disk and a server that the test plays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import ujson
from gevent.event import Event

from director import states as st
from director.agent.core import Agent
from director.agent.journal import Journal
from director.agent.journal.base import DiskJournal
from director.agent.recovery import take_up
from director.protocol import messages
from director.verbs.base import Outcome

HEAD = {"name": "n", "kind": "exec", "options": {"args": {}}, "stages": [""]}


def step(number: int, **more: Any) -> dict[str, Any]:
    flags = more.pop("flags", {})
    return {"i": number, "verb": "RUN", "text": "RUN x", "stage": 0, "line": 1, "flags": flags, "body": {}, **more}


class Side:
    """One client in `folder`; `apply(number, scope)` gives a step's outcome, steps in `hold` wait for `go`."""

    def __init__(self, folder: Path, rebooted: bool = False, concurrency: int = 8) -> None:
        self.journal = Journal.open(str(folder))
        self.keeping = DiskJournal(self.journal)
        self.sent: list[tuple[str, dict[str, Any], bytes]] = []
        self.ran: list[int] = []
        self.outcomes: dict[int, Callable[[], Outcome]] = {}
        self.scopes: dict[int, Any] = {}
        self.go: dict[int, Event] = {}
        self.agent = Agent("n1", self.keeping, self._apply, self._profile, concurrency)
        self.agent.transmit = self._transmit
        take_up(self.agent, self.journal.replay(), rebooted)

    def _profile(self) -> dict[str, Any]:
        return {"facts": {}, "labels": {}, "args": {}}

    def _apply(self, agent: Agent, held: Any, scope: Any, one: dict[str, Any], running: Any) -> Outcome:
        number = one["i"]
        self.ran.append(number)
        self.scopes[number] = scope.copy()
        if number in self.go:
            self.go[number].wait()
        return self.outcomes.get(number, lambda: Outcome(st.SUCCESS, 0, b"out %d" % number))()

    def _transmit(self, header: bytes, payload: bytes = b"") -> bool:
        kind, fields, _ = messages.decode([header], "client")
        self.sent.append((kind, fields, payload))
        return True

    def hold(self, *numbers: int) -> None:
        self.go.update((number, Event()) for number in numbers)

    def take(self, kind: str, *frames: bytes, **fields: Any) -> None:
        self.agent.take([messages.encode(kind, **fields), *frames])

    def welcome(self, **orders: Any) -> None:
        self.take("welcome", v=1, interval=10.0, now=1e9, jobs=orders)

    def give(self, job: str, steps: list[dict[str, Any]], seq: int = 1) -> None:
        first, last = steps[0]["i"], steps[-1]["i"]
        fill = [step(number) for number in range(first)]
        chunk = ujson.dumps([*fill, *steps]).encode()
        parts = [[first, last]]
        self.take("slice", chunk, ujson.dumps(HEAD).encode(), seq=seq, job=job, chunk=0, parts=parts)

    def until(self, check: Callable[[], Any]) -> Any:
        """What `check` gives as soon as it is true."""
        with gevent.Timeout(10):
            while not check():
                gevent.sleep(0.001)
        return check()

    def rest(self) -> None:
        """Let everything that can run do so."""
        for _ in range(20):
            gevent.sleep(0)

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        return [fields for name, fields, _ in self.sent if name == kind]

    def rows(self) -> list[tuple[str, int, str]]:
        """(job, step, letter) of all results in the order they went."""
        jobs = [entry for fields in self.kinds("results") for entry in fields["jobs"]]
        return [(job, row[0], row[1]) for job, rows, _, _ in jobs for row in rows]

    def rests(self) -> list[Any]:
        return [[job, *rest] for f in self.kinds("results") for job, _, _, rests in f["jobs"] for rest in rests]

    def end(self) -> None:
        """The process dies as it is."""
        self.agent.transmit = lambda *frames: False
        self.journal.close()

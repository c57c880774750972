"""Sends the output of running steps while somebody follows their job: pieces with offsets, at the server's pace.

Nothing of a step changes by it: a timer reads what the runner has kept anyhow. The result of a step has all of its
output, so what was not sent before its end needs no message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent

from director.agent.job_runner import Running
from director.agent.session import Session
from director.protocol import messages
from director.protocol.messages import PIECES_LIMIT

FOLLOWED = 1000  # jobs at a time

Place = tuple[str, int, int, int]  # job, step, attempt, stream


class LiveOutput:
    """The jobs that are followed, and how far the output of each of their running steps was sent."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._jobs: dict[str, None] = {}
        self._sent: dict[Place, int] = {}
        self._every, self._most = 1.0, 0
        self._timer: Any = None
        self._turn = 0

    def follow(self, fields: dict[str, Any]) -> None:
        """The server's order: send the output of this job, `anew` from its start on, or no more of it."""
        job = fields["job"]
        if fields["anew"] or not fields["on"]:
            self._sent = {place: offset for place, offset in self._sent.items() if place[0] != job}
        self._jobs.pop(job, None)
        if fields["on"] and len(self._jobs) < FOLLOWED:
            self._jobs[job] = None
            self._every = max(0.01, float(fields["every"]))
            self._most = min(max(1, fields["most"]), PIECES_LIMIT)
        self._start()

    def forget(self) -> None:
        """The session has ended: the server says anew what is followed."""
        self._jobs.clear()
        self._sent.clear()
        self._start()

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        if self._jobs:
            self._timer = gevent.get_hub().loop.timer(self._every, self._every)
            self._timer.start(self.send)

    def send(self) -> None:
        """Send what was written since the last time, at most so much. Called by the event loop."""
        if not self._session.reconciled.is_set():
            return
        pieces: list[Any] = []
        data: list[bytes] = []
        room, sent = self._most, {}
        for place, running in self._places():
            offset = sent[place] = self._sent.get(place, 0)
            if room > 0 and running.handle.outputs is not None:
                at, found = running.handle.outputs[place[3]].since(offset, room)
                if found:
                    pieces.append([*place, at, len(found)])
                    data.append(found)
                    room -= len(found)
                    sent[place] = at + len(found)
        if pieces and not self._session.send(messages.encode("output", pieces=pieces), b"".join(data)):
            return
        self._sent = sent

    def _places(self) -> Iterator[tuple[Place, Running]]:
        """The streams of steps that run and may be shown; each time another one is the first."""
        found = [
            ((job, running.step, running.attempt, stream), running)
            for job in self._jobs
            if (runner := self._session.jobs.get(job)) is not None
            for running in runner.running.values()
            if running.shown
            for stream in (0, 1)
        ]
        self._turn += 1
        start = self._turn % len(found) if found else 0
        yield from found[start:]
        yield from found[:start]

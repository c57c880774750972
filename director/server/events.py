"""What has happened on this server, numbered in order; the newest events stay in memory for whoever reads.

Numbers begin at 1 with each start of the server, so a reader names the epoch beside the number: of another epoch, or
of an event that is forgotten, nothing can be said but `reset`. Tasks are named by reference: one event says that tasks
of a job changed on some nodes; what they are now is asked where it is known. Such an event is made when somebody
reads, so that a server without readers only notes names.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gevent.event
import ujson

from director.runtime.logs import stamp
from director.scheduler.job_state import JobRun

KEPT = 20_000  # events
NAMES = 200_000  # of nodes, in all of them
MANY = 500  # nodes in one event; one about more names none
AT_ONCE = 1000  # events in one answer


@dataclass(slots=True)
class Happened:
    """One event.

    Attributes:
        job, node: what it is about, "" for neither.
        fields: all that it says.
        text: the same as JSON, made for the first reader.
    """

    number: int
    job: str
    node: str
    fields: dict[str, Any]
    text: bytes = b""

    def encoded(self) -> bytes:
        """The event as JSON."""
        if not self.text:
            self.text = ujson.dumps({"number": self.number, **self.fields}, escape_forward_slashes=False).encode()
        return self.text

    @property
    def weight(self) -> int:
        """Names of nodes in it."""
        return len(self.fields.get("nodes") or ())


@dataclass(slots=True)
class _Changed:
    """The nodes on which tasks of a job have changed since its last event; more than `MANY` are not named."""

    run: JobRun
    nodes: dict[str, None] = field(default_factory=dict)
    many: bool = False


class Events:
    """The sequence.

    Attributes:
        epoch: a random name of this sequence, another one after each start of the server.
    """

    def __init__(self) -> None:
        self.epoch = os.urandom(8).hex()
        self._last = 0
        self._kept: deque[Happened] = deque()
        self._names = 0
        self._changed: dict[str, _Changed] = {}
        self._states: dict[str, str] = {}  # of nodes, as their last events say
        self._more = gevent.event.Event()
        self._waiting = 0

    @property
    def next(self) -> int:
        """The number of the next event."""
        self._gather(list(self._changed))
        return self._last + 1

    def know(self, states: Mapping[str, str]) -> None:
        """Take the states of nodes as they are at the start of the server: nothing has happened to them."""
        self._states.update(states)

    # -- what happens -------------------------------------------------------------------------------------

    def job(self, job: str, state: str, **more: Any) -> None:
        """A job was accepted, has begun, is to be cancelled or is final."""
        self._gather([job])
        self._add("job", job, "", {"job": job, "state": state, **more})

    def tasks(self, run: JobRun, node: str) -> None:
        """Tasks of a job on this node have changed their states."""
        changed = self._changed.get(run.id)
        if changed is None:
            changed = self._changed[run.id] = _Changed(run)
        if len(changed.nodes) < MANY:
            changed.nodes[node] = None
        elif node not in changed.nodes:
            changed.many = True
        self._wake()

    def node(self, name: str, state: str | None) -> None:
        """A node is in this state now, None for one that was forgotten; nothing when it has been before."""
        if self._states.get(name) != state:
            new = name not in self._states
            if state is None:
                del self._states[name]
            else:
                self._states[name] = state
            self._add("node", "", name, {"node": name, "state": state or "forgotten", "new": new})

    def waits(self, name: str) -> None:
        """A key that is no node waits for this name."""
        self._add("enrolment", "", name, {"node": name, "state": "pending"})

    def order(self, command: str, user: str) -> None:
        """A command that changes something was carried out for a user."""
        self._add("order", "", "", {"order": command, "by": user})

    # -- reading ------------------------------------------------------------------------------------------

    def since(self, number: int) -> tuple[list[Happened], int]:
        """At most `AT_ONCE` events from this number on, and how many of those asked for are forgotten."""
        self._gather(list(self._changed))
        first = self._last - len(self._kept) + 1
        missed = max(0, first - number)
        start = max(0, number - first)
        if start >= len(self._kept):
            return [], missed
        if start > len(self._kept) - AT_ONCE:  # mostly the newest are asked for
            return [self._kept[index] for index in range(start, len(self._kept))], missed
        found = list(self._kept)
        return found[start : start + AT_ONCE], missed

    def has(self, epoch: str, number: int) -> bool:
        """Whether a reader may go on from this number of this epoch."""
        return epoch == self.epoch and self.next - len(self._kept) <= number <= self.next

    def wait(self, seconds: float) -> bool:
        """Block until something happens, for at most so many seconds; whether it has."""
        self._waiting += 1
        try:
            return bool(self._changed) or self._more.wait(seconds)
        finally:
            self._waiting -= 1

    # -- inside -------------------------------------------------------------------------------------------

    def _gather(self, jobs: Iterable[str]) -> None:
        """Make an event of the changed tasks of each of these jobs."""
        for job in jobs:
            changed = self._changed.pop(job, None)
            if changed is not None:
                nodes = None if changed.many else list(changed.nodes)
                self._add("tasks", job, "", {"job": job, "tasks": changed.run.tasks(), "nodes": nodes})

    def _add(self, kind: str, job: str, node: str, fields: dict[str, Any]) -> None:
        self._last += 1
        event = Happened(self._last, job, node, {"kind": kind, "at": stamp(time.time()), **fields})
        self._kept.append(event)
        self._names += event.weight
        while len(self._kept) > KEPT or self._names > NAMES:
            self._names -= self._kept.popleft().weight
        self._wake()

    def _wake(self) -> None:
        if self._waiting:
            self._more.set()
            self._more.clear()

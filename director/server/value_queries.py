"""QUERY: nodes ask for a value of all nodes of their job and are answered when those online have come far enough.

All that ask at one step of a job form a group: it is watched once for all of them, and one answer serves them.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

import gevent
import ujson
from gevent.event import Event

from director.protocol import messages
from director.runtime.greenlets import breathe, spawn
from director.scheduler.job_state import HANDED, JobRun
from director.server.roster import NodeRecord, Roster, Send
from director.server.scheduler import Scheduler

log = logging.getLogger(__name__)

ANSWER_LIMIT = 1024 * 1024  # bytes of JSON; it becomes part of the step's result
NAME_LIMIT = 1000
FRESH = 1.0  # seconds for which an answer serves others that ask the same
LOOK_AGAIN = 0.5  # seconds after which nodes that fell silent, or came back, are noticed
PACE = 0.02
SLICE = 200  # nodes whose values are read in one go


def opened(desk: Scheduler, record: NodeRecord, job: str, step: int, kind: str) -> tuple[JobRun, dict[str, Any]] | str:
    """The job and the step's exchange, when the plan lets this node do this now; else why not."""
    run = desk.runs.get(job)
    node = run.nodes.get(record.name) if run is not None else None
    spec = run.meta.get("exchange", {}).get(str(step)) if run is not None else None
    if run is None or node is None or spec is None or spec["kind"] != kind:
        return "the job has no such step for this node, or is over"
    if not 0 <= step < len(node.states) or node.states[step] not in HANDED:
        return "this node does not run that step now"
    return run, spec


@dataclass(slots=True)
class _Gathered:
    """The values of one name: node to `{name: value}`, and the same as JSON; `error` says why there is none."""

    at: float
    found: dict[str, dict[str, Any]]
    body: bytes = b""
    error: str = ""

    def encode(self) -> None:
        """Make `body` what `found` is now."""
        self.body = ujson.dumps(self.found).encode()
        if len(self.body) > ANSWER_LIMIT:
            self.error = f"the values of {len(self.found)} nodes come to more than {ANSWER_LIMIT >> 20} MiB"
            self.body = b""


@dataclass(slots=True)
class _Group:
    """Those that wait at one step.

    Attributes:
        left: nodes that may not have passed the steps before; `absent` those of them that were offline.
        asks: node to the name it asks for.
        answers: what was gathered lately, by name.
    """

    run: JobRun
    step: int
    spec: dict[str, Any]
    left: list[str]
    absent: list[str] = field(default_factory=list)
    asks: dict[str, str] = field(default_factory=dict)
    answers: dict[str, _Gathered] = field(default_factory=dict)


class ValueQueries:
    """The groups of all open jobs.

    Args:
        grace: seconds after the start in which a node that was not heard yet counts as one that is on its way.
    """

    def __init__(self, desk: Scheduler, roster: Roster, send: Send, grace: float) -> None:
        self._until = time.monotonic() + grace
        self._desk, self._roster, self._send = desk, roster, send
        self._groups: dict[tuple[str, int], _Group] = {}
        self._asked = Event()
        spawn("queries", self._watch, vital=True)

    def ask(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """A node asks; it is answered soon, or told what it waits for."""
        job, step, name = fields["job"], fields["step"], fields["name"]
        found = opened(self._desk, record, job, step, "query")
        if isinstance(found, str):
            self._answer(record, job, step, found, "", b"")
            return
        run, spec = found
        if not name or len(name) > NAME_LIMIT or spec["name"] not in (None, name):
            self._answer(record, job, step, "the plan asks for another name", "", b"")
            return
        group = self._groups.get((job, step))
        if group is None:
            group = self._groups[job, step] = _Group(run, step, spec, list(run.nodes) if spec["wait"] else [])
        group.asks[record.name] = name
        if not self._ready(group):
            self._answer(record, job, step, "", self._why(group), b"")
        self._asked.set()

    # -- inside -------------------------------------------------------------------------------------------

    def _answer(self, record: NodeRecord, job: str, step: int, error: str, why: str, body: bytes) -> None:
        self._send(record, messages.encode("query_values", job=job, step=step, error=error, why=why), (body,))

    def _watch(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            while any(group.asks for group in self._groups.values()):
                self._look()
                self._desk.changed.wait(LOOK_AGAIN)
                gevent.sleep(PACE)
            self._forget()

    def _look(self) -> None:
        self._forget()
        for group in list(self._groups.values()):
            try:
                if group.asks and self._ready(group):
                    self._serve(group)
            except Exception:
                log.exception("values for job %s cannot be gathered", group.run.id)
                group.asks.clear()

    def _forget(self) -> None:
        for key in [key for key in self._groups if key[0] not in self._desk.runs]:
            del self._groups[key]

    def _ready(self, group: _Group) -> bool:
        """Whether every node that is online has passed; who has passed once is not looked at again.

        What was gathered before a node passed lacks its value, so it is gathered anew.
        """
        group.left += group.absent
        group.absent = []
        while group.left:
            name = group.left[-1]
            if not group.run.passed(group.run.nodes[name], group.step):
                if self._may_come(name):
                    return False
                group.absent.append(name)
            else:
                group.answers.clear()
            group.left.pop()
        return True

    def _may_come(self, name: str) -> bool:
        """Whether the node is online, or may be found to be: a server that has just started has heard of few."""
        record = self._roster.nodes.get(name)
        if record is None:
            return False
        return record.online or (record.heard is None and time.monotonic() < self._until)

    def _why(self, group: _Group) -> str:
        """What the group waits for, for a person."""
        name = group.left[-1]
        return f"{name} has not ended step {group.run.nodes[name].first_open()}"

    def _serve(self, group: _Group) -> None:
        asks, group.asks = group.asks, {}
        for node, name in asks.items():
            record = self._roster.nodes.get(node)
            if record is not None:
                known = self._values(group, record, name)
                self._answer(record, group.run.id, group.step, known.error, "", known.body)

    def _values(self, group: _Group, record: NodeRecord, name: str) -> _Gathered:
        """The values of `name`, a moment old perhaps, but with the asking node's own as it is now."""
        known = group.answers.get(name)
        if known is None or time.monotonic() - known.at > FRESH:
            if len(group.answers) > 10:
                group.answers.clear()
            known = group.answers[name] = self._gather(group, name)
        own = value_of(record, name)
        if own is not None and known.found.get(record.name) != {name: own}:
            known.found[record.name] = {name: own}
            known.encode()
        return known

    def _gather(self, group: _Group, name: str) -> _Gathered:
        known = _Gathered(time.monotonic(), {})
        for number, node in enumerate((*group.run.nodes, *group.spec["others"])):
            record = self._roster.nodes.get(node)
            if record is not None and (value := value_of(record, name)) is not None:
                known.found[node] = {name: value}
            if number % SLICE == SLICE - 1:
                breathe()
        known.encode()
        return known


def value_of(record: NodeRecord, name: str) -> Any:
    """The ARG that a node remembers under this name, else the fact, which may be a path with dots; None for neither."""
    text = record.args.get(name)
    if text is not None:
        return text
    first, *rest = name.split(".")
    if f'"{first}"' not in record.facts:
        return None
    value = ujson.loads(record.facts).get(first)
    for part in rest:
        value = value.get(part) if isinstance(value, dict) else None
    return value

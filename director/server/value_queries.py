"""QUERY: a node requests a value of all nodes of its job, and gets it when those online have come to that step.

All nodes that wait at one step of a job form a group, which is checked once for all of them and gets one answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import gevent
import ujson
from gevent.event import Event

from director.protocol import messages
from director.runtime.greenlets import breathe, spawn
from director.scheduler.job_state import JobRun
from director.scheduler.node_run import HANDED
from director.server.roster import NodeRecord, Roster, Send
from director.server.scheduler import Scheduler
from director.stores.rows import clean

log = logging.getLogger(__name__)

ANSWER_LIMIT = 1024 * 1024  # bytes of JSON; it becomes part of the step's result
NAME_LIMIT = 1000
FRESH = 1.0  # seconds for which an answer is used again
LOOK_AGAIN = 0.5  # seconds after which nodes that fell silent, or came back, are noticed
PACE = 0.02  # seconds between two checks
BATCH = 200  # nodes whose values are read before other greenlets get a turn


def opened(
    scheduler: Scheduler, record: NodeRecord, job: str, step: int, kind: str
) -> tuple[JobRun, dict[str, Any]] | str:
    """The job and what its plan says of this transfer, when the node runs such a step now; else the reason."""
    run = scheduler.runs.get(job)
    node = run.nodes.get(record.name) if run is not None else None
    spec = run.meta.get("exchange", {}).get(str(step)) if run is not None else None
    if run is None or node is None or spec is None or spec["kind"] != kind:
        return "the job has no such step for this node, or is over"
    if not 0 <= step < len(node.states) or node.states[step] not in HANDED:
        return "this node does not run that step now"
    return run, spec


@dataclass(slots=True)
class _Gathered:
    """The values of one name.

    Attributes:
        at: monotonic time at which they were read.
        found: node to its value.
        body: JSON of node to `{name: value}`.
        error: why there is no body.
    """

    name: str
    at: float
    found: dict[str, Any]
    body: bytes = b""
    error: str = ""

    def encode(self) -> None:
        """Make `body` from `found`."""
        found = {node: {self.name: value} for node, value in self.found.items()}
        self.body = clean(ujson.dumps(found, ensure_ascii=False)).encode()
        if len(self.body) > ANSWER_LIMIT:
            self.error = f"the values of {len(self.found)} nodes come to more than {ANSWER_LIMIT >> 20} MiB"
            self.body = b""


@dataclass(slots=True)
class _Group:
    """The nodes that wait at one step.

    Attributes:
        left: nodes that may not have ended the steps before.
        absent: those of them that were offline at the last check.
        asks: waiting node to the name that it requested.
        answers: recent values by name.
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
        grace: seconds after the start in which a node that was not heard yet is expected to come online.
    """

    def __init__(self, scheduler: Scheduler, roster: Roster, send: Send, grace: float) -> None:
        self._until = time.monotonic() + grace
        self._scheduler, self._roster, self._send = scheduler, roster, send
        self._groups: dict[tuple[str, int], _Group] = {}
        self._asked = Event()
        spawn("queries", self._watch, vital=True)

    def ask(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """Take a `query`: the node gets the values soon, or learns what it waits for."""
        job, step, name = fields["job"], fields["step"], fields["name"]
        found = opened(self._scheduler, record, job, step, "query")
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
            awaited = group.left[-1]
            why = f"{awaited} has not ended step {run.nodes[awaited].first_open() + 1}"
            self._answer(record, job, step, "", why, b"")
        self._asked.set()

    # -- inside -------------------------------------------------------------------------------------------

    def _answer(self, record: NodeRecord, job: str, step: int, error: str, why: str, body: bytes) -> None:
        self._send(record, messages.encode("query_values", job=job, step=step, error=error, why=why), (body,))

    def _watch(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            while any(group.asks for group in self._groups.values()):
                self._serve_ready()
                self._scheduler.changed.wait(LOOK_AGAIN)
                gevent.sleep(PACE)
            self._forget()

    def _serve_ready(self) -> None:
        self._forget()
        for group in list(self._groups.values()):
            try:
                if group.asks and self._ready(group):
                    self._serve(group)
            except Exception:
                log.exception("values for job %s cannot be gathered", group.run.id)
                group.asks.clear()

    def _forget(self) -> None:
        for key in [key for key in self._groups if key[0] not in self._scheduler.runs]:
            del self._groups[key]

    def _ready(self, group: _Group) -> bool:
        """Whether every online node has ended the steps before; one that has is not checked again.

        Values read before such a node's end lack its own, so they are read again.
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
        """Whether the node is online, or the server has started too recently to know."""
        record = self._roster.nodes.get(name)
        starting = time.monotonic() < self._until
        return record is not None and (record.online or (record.heard is None and starting))

    def _serve(self, group: _Group) -> None:
        asks, group.asks = group.asks, {}
        for node, name in asks.items():
            record = self._roster.nodes.get(node)
            if record is not None:
                known = self._values(group, record, name)
                self._answer(record, group.run.id, group.step, known.error, "", known.body)

    def _values(self, group: _Group, record: NodeRecord, name: str) -> _Gathered:
        """The values of `name`; they may be a moment old, except the requesting node's own."""
        known = group.answers.get(name)
        if known is None or time.monotonic() - known.at > FRESH:
            if len(group.answers) > 10:
                group.answers.clear()
            nodes = (*group.run.nodes, *group.spec["others"])
            known = group.answers[name] = _Gathered(name, time.monotonic(), gather(self._roster, nodes, name))
            known.encode()
        own = value_of(record, name)
        if own is not None and known.found.get(record.name) != own:
            known.found[record.name] = own
            known.encode()
        return known


def gather(
    roster: Roster, nodes: Iterable[str], name: str, planned: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> dict[str, Any]:
    """The value of each node that has one; other greenlets get turns in between.

    Args:
        planned: values, by node and name, that take the place of those the server knows.
    """
    found: dict[str, Any] = {}
    for number, node in enumerate(nodes, 1):
        if name in planned.get(node, {}):
            found[node] = planned[node][name]
        elif (record := roster.nodes.get(node)) is not None and (value := value_of(record, name)) is not None:
            found[node] = value
        if number % BATCH == 0:
            breathe()
    return found


def value_of(record: NodeRecord, name: str) -> Any:
    """The node's stored ARG of this name, else its fact, where dots lead into objects; None for neither."""
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

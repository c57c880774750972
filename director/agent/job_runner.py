"""The jobs a client holds: their steps in order, in lanes, with their values; what runs and what never will.

A job's steps come in slices, in the order of their numbers. One greenlet a job runs them one after another;
steps of async entries (lanes) get a greenlet a lane, each with its own copy of the values, joined in file
order when the whole group has ended. A failure ends the job here (or its lane): the server knows the rule
and marks what follows, so nothing more is said about it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gevent
import ujson
from gevent.event import AsyncResult, Event

from director import states as st
from director.language.scope import Scope
from director.process import Handle
from director.protocol.messages import STEPS_PER_CHUNK
from director.protocol.results import TaskResult
from director.runtime.greenlets import spawn

log = logging.getLogger(__name__)

Step = dict[str, Any]
Place = dict[str, Any]


@dataclass(slots=True)
class Running:
    """A step that runs now."""

    step: int
    at: float  # by the server's clock
    since: float  # monotonic
    handle: Handle = field(default_factory=Handle)
    told: bool = False
    away: bool = False  # a REBOOT that has begun: the end of this process is no end of the step
    in_process: bool = False  # the runner waits for a process, which `handle` ends
    greenlet: Any = None


class JobRunner:
    """One job on this client.

    Args:
        run_step: runs one step to its result row, applies its effects to the scope; returns the row.
        ended: called when the job has nothing to do now (for batching) or was cancelled to its end.
    """

    def __init__(
        self, job: str, head: Mapping[str, Any], scope: Scope, run_step: Callable[[JobRunner, Scope, Step], TaskResult]
    ) -> None:
        self.job = job
        self.head = head
        self.scope = scope
        self.upto = 0  # first step that was never given
        self.dead = False  # a step failed: nothing of this job starts here any more
        self.cancelled = ""
        self.running: dict[int, Running] = {}
        self.attempts: dict[int, int] = {}  # steps that begin with a later attempt, as the client died in one
        self.known: dict[int, TaskResult] = {}  # how steps ended before this client began; they are not run again
        self.waits: dict[int, AsyncResult[bool]] = {}  # steps behind another node's run-once step: may they begin?
        self._ran: dict[int, int] = {}  # the last step that was run here, by lane
        self._seeds: deque[Step] = deque(head.get("seed", ()))  # what had succeeded in the job that this one resumes
        self._run_step = run_step
        self._chunks: dict[int, list[Step]] = {}
        self._queue: deque[tuple[int, int]] = deque()
        self._more = Event()
        self._stage = -1
        self._ends: dict[int, Place] = {}  # how stages ended, for later ones that go on from there
        self._lanes: list[_Lane] = []
        self._greenlet: Any = None

    def add(self, number: int, chunk: bytes, parts: list[tuple[int, int]]) -> None:
        """Steps `first`..`last` of each part, all of chunk `number`; what was given before is left out."""
        if chunk:
            self._chunks[number] = ujson.loads(chunk)
        for first, last in parts:
            first = max(first, self.upto)
            if first <= last:
                self._queue.append((first, last))
                self.upto = last + 1
        self._more.set()
        if self._greenlet is None:
            self._greenlet = spawn(f"job {self.job}", self._run, vital=False)

    @property
    def pending(self) -> bool:
        """Whether a step is waiting here, in the job's queue or in a lane's."""
        return not self.dead and (bool(self._queue) or any(lane.queue for lane in self._lanes))

    def drop(self) -> None:
        """Start nothing more of this job."""
        self.dead = True
        self._queue.clear()
        self._more.set()
        for lane in self._lanes:
            lane.stop()
        for answer in self.waits.values():
            answer.set(False)

    def is_behind(self, step: Step) -> bool:
        """Whether the step stands behind a run-once step that was not run here, nor anything behind that."""
        return bool(step.get("behind", -1) > self._ran.get(step.get("lane", 0), -1))

    # -- inside -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self.dead:
            step = self._next()
            if step is None:
                self._more.clear()
                self._more.wait()
                continue
            if step.get("lane"):
                self._to_lane(step)
            else:
                self._join_lanes()
                self._enter_stage(self.scope, step)
                if stops(self.do(self.scope, step).state_code, step):
                    self.dead = True
                    self._queue.clear()
        self._join_lanes()

    def do(self, scope: Scope, step: Step) -> TaskResult:
        """Run a step, or only apply what it did when it has ended before; its row."""
        if "effects" in step:  # of the job that this one resumes: it tells nothing of this one's run-once steps
            scope.apply(step["effects"] or {})
            return TaskResult(step["i"], chr(st.CACHED), effects=step["effects"])
        row = self.known.pop(step["i"], None)
        if row is None:
            row = self._run_step(self, scope, step)
        else:
            scope.apply(row.effects or {})
        self._ran[step.get("lane", 0)] = step["i"]
        return row

    def _next(self) -> Step | None:
        while self._queue:
            first, last = self._queue[0]
            if first > last:
                self._queue.popleft()
                continue
            if self._seeds and self._seeds[0]["i"] < first:
                return self._seeds.popleft()
            self._queue[0] = (first + 1, last)
            if first == last:
                self._queue.popleft()
            chunk = self._chunks.get(first // STEPS_PER_CHUNK)
            if chunk is None:
                log.error("job %s: step %d came without its text", self.job, first)
                return None
            return chunk[first % STEPS_PER_CHUNK]
        return None

    def _enter_stage(self, scope: Scope, step: Step) -> None:
        if step["stage"] != self._stage:
            self._leave_stage(scope)
            self._stage = step["stage"]
            self._go_on(scope, step)

    def _leave_stage(self, scope: Scope) -> None:
        if self._stage >= 0:
            self._ends[self._stage] = scope.place()
            scope.end_stage()
        self._stage = -1

    def _go_on(self, scope: Scope, step: Step) -> None:
        """`FROM name` of an earlier stage: its USER, WORKDIR and SHELL hold on."""
        place = self._ends.get(step.get("inherit", -1))
        if place is not None:
            scope.apply(place)

    def _to_lane(self, step: Step) -> None:
        if self._lanes and self._lanes[0].group != step["group"]:
            self._join_lanes()
        lane = next((lane for lane in self._lanes if lane.number == step["lane"]), None)
        if lane is None:
            self._leave_stage(self.scope)
            scope = self.scope.copy()
            self._go_on(scope, step)
            lane = _Lane(self, step, scope)
            self._lanes.append(lane)
        lane.give(step)

    def _join_lanes(self) -> None:
        """Wait for the group's lanes, then take over what they set, in file order."""
        if not self._lanes:
            return
        lanes, self._lanes = sorted(self._lanes, key=lambda lane: lane.number), []
        for lane in lanes:
            lane.close()
        gevent.joinall([lane.greenlet for lane in lanes])
        for lane in lanes:
            self._ends[lane.stage] = lane.scope.place()
            for effects in lane.effects:
                self.scope.apply({k: v for k, v in effects.items() if k not in ("user", "workdir", "shell")})
        self._stage = -1
        self.scope.end_stage()


class _Lane:
    """One async entry of a job."""

    def __init__(self, held: JobRunner, step: Step, scope: Scope) -> None:
        self.group, self.number, self.stage, self.scope = step["group"], step["lane"], step["stage"], scope
        self.queue: deque[Step] = deque()
        self.effects: list[dict[str, Any]] = []
        self._held = held
        self._more = Event()
        self._closed = False
        self._dead = False
        self.greenlet = spawn(f"job {held.job} lane {self.number}", self._run, vital=False)

    def give(self, step: Step) -> None:
        """One more step of this entry."""
        if not self._dead:
            self.queue.append(step)
            self._more.set()

    def close(self) -> None:
        """No more steps will come."""
        self._closed = True
        self._more.set()

    def stop(self) -> None:
        """Start nothing more."""
        self._dead = True
        self.queue.clear()
        self.close()

    def _run(self) -> None:
        while True:
            while self.queue and not self._dead:
                self._one(self.queue.popleft())
            if self._closed or self._dead:
                return
            self._more.clear()
            self._more.wait()

    def _one(self, step: Step) -> None:
        row = self._held.do(self.scope, step)
        if row.effects:
            self.effects.append(row.effects)
        if stops(row.state_code, step):
            self.stop()


def stops(state: int, step: Step) -> bool:
    """Whether a task that ended so stops what follows on the node."""
    ignored = state in st.IGNORABLE and bool(step["flags"].get("ignore-errors"))
    return (state in st.BAD or state in (st.CANCELLED, st.SKIPPED)) and not ignored

"""One job on a client: its steps in order, the values of its stages, and its async entries (lanes) beside each other.

Slices come in the order of their steps. A greenlet runs the steps one after another and ends when there are none;
the next slice starts it again. Each lane has a greenlet and a copy of the values; when the whole group has ended,
the values that its lanes set are joined in file order. A failure ends the job here, or its lane; the server applies
the same rule, so the steps behind it are not reported.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gevent
import ujson
from gevent.event import AsyncResult

from director import states as st
from director.agent.job_secrets import JobSecrets
from director.language.scope import Scope
from director.process import Handle
from director.protocol.results import TaskResult
from director.runtime.greenlets import spawn, spawn_pooled

log = logging.getLogger(__name__)

Step = dict[str, Any]
_OF_STAGE = ("user", "workdir", "shell")  # effects that last to the end of a stage


@dataclass(slots=True)
class _LaneScope:
    scope: Scope
    stage: int
    effects: list[tuple[Mapping[str, Any], Mapping[str, str]]] = field(default_factory=list)


class JobScopes:
    """Gives each step the scope that it sees.

    Args:
        main: the scope of the steps that are in no lane; a lane has a copy of it.
    """

    def __init__(self, main: Scope) -> None:
        self.main = main
        self._stage = -1
        self._ends: dict[int, dict[str, Any]] = {}  # USER, WORKDIR and SHELL at the end of each stage
        self._group = 0
        self._lanes: dict[int, _LaneScope] = {}

    def ends_lanes(self, step: Step) -> bool:
        """Whether the open lanes end before this step."""
        return bool(self._lanes) and not (step.get("lane") and step["group"] == self._group)

    def enter(self, step: Step) -> Scope:
        """The scope of this step. Call it for each step in order, once the lanes that it ends have run."""
        if self.ends_lanes(step):
            self._join_lanes()
        number = step.get("lane", 0)
        if not number:
            if step["stage"] != self._stage:
                self._leave_stage()
                self._stage = step["stage"]
                self._inherit(self.main, step)
            return self.main
        if number not in self._lanes:
            self._leave_stage()
            self._group = step["group"]
            lane = self._lanes[number] = _LaneScope(self.main.copy(), step["stage"])
            self._inherit(lane.scope, step)
        return self._lanes[number].scope

    def keep(self, step: Step, effects: Mapping[str, Any] | None, private: Mapping[str, str] | None = None) -> None:
        """Note what a step of a lane set, for the steps after the lanes; the caller applies it to the step's scope."""
        if (effects or private) and step.get("lane") in self._lanes:
            self._lanes[step["lane"]].effects.append((effects or {}, private or {}))

    def _inherit(self, scope: Scope, step: Step) -> None:
        """`FROM name` of an earlier stage: begin with its USER, WORKDIR and SHELL."""
        scope.apply(self._ends.get(step.get("inherit", -1), {}))

    def _leave_stage(self) -> None:
        if self._stage >= 0:
            self._ends[self._stage] = self.main.place()
            self.main.end_stage()
        self._stage = -1

    def _join_lanes(self) -> None:
        """Apply what the lanes set to the main scope, in the order of the file."""
        for _, lane in sorted(self._lanes.items()):
            self._ends[lane.stage] = lane.scope.place()
            for effects, private in lane.effects:
                self.main.apply({name: value for name, value in effects.items() if name not in _OF_STAGE})
                self.main.hide(private)
        self._lanes.clear()


@dataclass(slots=True)
class Running:
    """A step that runs now.

    Attributes:
        step: its number.
        at, since: when it began, epoch seconds by the server's clock and monotonic.
        greenlet: that runs it, None as soon as its outcome is there.
        handle: ends its process.
        reported: whether the server was told that it runs.
        away: it is a REBOOT that has begun; the next client reports how it ended.
        attempt: the number of the attempt that is made.
        shown: its output may be sent while it runs.
        in_process: the greenlet waits for a process, so `handle` is enough to end the step.
    """

    step: int
    at: float
    since: float
    greenlet: Any = None
    handle: Handle = field(default_factory=Handle)
    reported: bool = False
    away: bool = False
    in_process: bool = False
    attempt: int = 1
    shown: bool = False


class JobRunner:
    """One job on this client.

    Args:
        id: of the job.
        head: `{"name", "kind", "options"}`, and `seed` for a resumed job: the effects of its earlier steps.
        run_step: runs one step, applies its effects to the scope and gives its result.
        pass_over: called for each step that ended before this client began, with whether it succeeded.

    Attributes:
        cursor: the first step that was not given to this client.
        dead: a step failed or the job was dropped; nothing more starts here.
        cancelled: why the job was cancelled, "" when it was not.
        running: the steps that run now, by number.
        attempts: number of the next attempt of steps that an earlier process of this client was running.
        known: results from before this client was started; these steps are not run again.
        secrets: its secrets, in memory.
        made: secret values that steps have just set, by step.
        waits: steps that wait for the run-once step of another node, and whether they may begin.
    """

    def __init__(
        self, id: str, head: Mapping[str, Any], scope: Scope, run_step: Callable[[JobRunner, Scope, Step], TaskResult],
        pass_over: Callable[[JobRunner, Step, bool], None],
    ) -> None:  # fmt: skip
        self.id, self.head, self.scopes = id, head, JobScopes(scope)
        self.cursor = 0
        self.dead = False
        self.cancelled = ""
        self.running: dict[int, Running] = {}
        self.attempts: dict[int, int] = {}
        self.known: dict[int, TaskResult] = {}
        self.secrets = JobSecrets()
        self.made: dict[int, dict[str, str]] = {}
        self.waits: dict[int, AsyncResult[bool]] = {}
        self._run_step, self.pass_over = run_step, pass_over
        self._ran: dict[int, int] = {}  # the last step that was run here, by lane
        self._seeds: deque[Step] = deque(head.get("seed", ()))
        self._steps: dict[int, Step] = {}  # by number
        self._queue: deque[tuple[int, int]] = deque()  # step ranges
        self._lanes: dict[int, _Lane] = {}
        self._is_started = False  # a greenlet runs the queue

    def add(self, chunk: bytes, first: int, last: int) -> None:
        """Queue the steps `first` to `last`; those given before are left out.

        Args:
            chunk: these steps and others, empty where they were added before.
        """
        if chunk:
            self._steps.update((step["i"], step) for step in ujson.loads(chunk))
        first = max(first, self.cursor)
        if first <= last:
            self.cursor = last + 1
            if not self.dead:
                self._queue.append((first, last))
        if self._queue and not self._is_started:
            self._is_started = True
            spawn_pooled(f"job {self.id}", self._run)

    @property
    def pending(self) -> bool:
        """Whether a step waits in the job's queue or a lane's."""
        return bool(self._queue) or any(lane.queue for lane in self._lanes.values())

    def drop(self) -> None:
        """Start nothing more of this job."""
        self.dead = True
        self._queue.clear()
        for lane in self._lanes.values():
            lane.stop()
        for answer in self.waits.values():
            answer.set(False)

    def is_behind(self, step: Step) -> bool:
        """Whether a run-once step stands before this one, and neither it nor a step between them was run here."""
        return "behind" in step and step["behind"] > self._ran.get(step.get("lane", 0), -1)

    def do(self, scope: Scope, step: Step) -> TaskResult:
        """Run a step, or only apply its effects when it has ended before; gives its result."""
        if "effects" in step:  # of the job that this one resumes, which had run-once steps of its own
            row = TaskResult(step["i"], chr(st.CACHED), effects=step["effects"])
            scope.apply(row.effects or {})
        else:
            row = self._do_own(scope, step)
            self._ran[step.get("lane", 0)] = step["i"]
        self.scopes.keep(step, row.effects, self.made.pop(step["i"], None))
        return row

    # -- inside -------------------------------------------------------------------------------------------

    def _do_own(self, scope: Scope, step: Step) -> TaskResult:
        self.secrets.used = self.secrets.used or "secrets" in step
        row = self.known.pop(step["i"], None)
        if row is None:
            return self._run_step(self, scope, step)
        scope.apply(row.effects or {})
        self.pass_over(self, step, row.state_code in st.GOOD)
        return row

    def _run(self) -> None:
        while (step := self._next()) is not None:
            if self.scopes.ends_lanes(step):
                self._wait_for_lanes()
            if self.dead:
                break
            scope = self.scopes.enter(step)
            if step.get("lane"):
                self._to_lane(scope, step)
            elif stops(self.do(scope, step).state_code, step):
                self.dead = True
                self._queue.clear()
        self._is_started = False

    def _next(self) -> Step | None:
        """The next step of the queue; before it those of `seed` with lower numbers."""
        if not self._queue:
            return None
        first, last = self._queue[0]
        if self._seeds and self._seeds[0]["i"] < first:
            return self._seeds.popleft()
        if first == last:
            self._queue.popleft()
        else:
            self._queue[0] = (first + 1, last)
        step = self._steps.pop(first, None)
        if step is None:
            log.error("job %s: step %d came without its text", self.id, first)
        return step

    def _to_lane(self, scope: Scope, step: Step) -> None:
        number = step["lane"]
        if number not in self._lanes:
            self._lanes[number] = _Lane(self, number, scope)
        self._lanes[number].give(step)

    def _wait_for_lanes(self) -> None:
        """Wait until the lanes of the group have ended."""
        gevent.joinall([lane.greenlet for lane in self._lanes.values() if lane.greenlet is not None])
        self._lanes.clear()


class _Lane:
    """One async entry of a job."""

    def __init__(self, job: JobRunner, number: int, scope: Scope) -> None:
        self.queue: deque[Step] = deque()
        self.greenlet: Any = None
        self._job, self._number, self._scope = job, number, scope
        self._dead = False

    def give(self, step: Step) -> None:
        """Queue one more step."""
        if self._dead:
            return
        self.queue.append(step)
        if self.greenlet is None:
            self.greenlet = spawn(f"job {self._job.id} lane {self._number}", self._run, vital=False)

    def stop(self) -> None:
        """Start nothing more."""
        self._dead = True
        self.queue.clear()

    def _run(self) -> None:
        while self.queue:
            step = self.queue.popleft()
            if stops(self._job.do(self._scope, step).state_code, step):
                self.stop()
        self.greenlet = None


def stops(state: int, step: Step) -> bool:
    """Whether a task in this final state stops the steps behind it on the node."""
    ignored = state in st.IGNORABLE and bool(step["flags"].get("ignore-errors"))
    return (state in st.BAD or state in (st.CANCELLED, st.SKIPPED)) and not ignored

"""Runs the steps of a client: waits for a slot, makes the attempts, journals and reports how each step ended.

`apply` runs one attempt; the fleet simulator (`scripts/simulation`) passes one that runs no process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import gevent
import ujson
from gevent.event import AsyncResult

from director import states as st
from director.agent.job_runner import JobRunner, Running, Step
from director.agent.session import Session
from director.agent.slots import Slots
from director.errors import StoreError
from director.language.scope import Scope
from director.process import cancel as end_process
from director.protocol import messages
from director.protocol.results import TaskResult
from director.verbs.base import Outcome

log = logging.getLogger(__name__)

RUNNING_AFTER = 0.25  # seconds after which a step is reported as running
RETRY_FIRST = 1.0  # seconds between the first two attempts; doubled each time, up to RETRY_LAST
RETRY_LAST = 30.0
DISK_AGAIN = 1.0  # seconds between two tries to write to a full disk
INTERRUPT_SECONDS = 7.0  # that interrupted steps have at the end of the client
DEFAULT_TIMEOUT = 600.0
EFFECTS_LIMIT = 2 * 1024 * 1024  # bytes of JSON that the values set by one step may have, to fit a message

Apply = Callable[["StepRunner", JobRunner, Scope, Step, Running], Outcome]


class Interrupted(gevent.GreenletExit):
    """Raised in a step's greenlet to end the step."""


class StepRunner:
    """Runs steps of all jobs of one client.

    Args:
        apply: runs one attempt of a step.
        concurrency: tasks at once.
    """

    def __init__(self, session: Session, apply: Apply, concurrency: int = 8) -> None:
        self.session, self.journal, self.outbox = session, session.journal, session.outbox
        self.slots = Slots(concurrency)
        self.draining = False
        self._apply = apply
        self._running = 0
        self._timer: Any = None

    def run(self, job: JobRunner, scope: Scope, step: Step) -> TaskResult:
        """Run one step when there is a slot and the session is reconciled.

        Gives a skipped result, which nobody reports, when the run-once step before it did not succeed on the other
        node: the server knows that.

        Raises:
            GreenletExit: the job was dropped or cancelled, or the client ends; the job's greenlet ends with it.
        """
        if job.is_behind(step) and not self._may_begin(job, step["i"]):
            return TaskResult(step["i"], chr(st.SKIPPED))
        self.slots.take(job.id)
        try:
            self.session.wait_reconciled()
            if job.dead or job.cancelled or self.draining:
                raise gevent.GreenletExit
            return self._run_now(job, scope, step)
        finally:
            self.slots.give()

    # -- run-once steps of other nodes --------------------------------------------------------------------

    def _may_begin(self, job: JobRunner, step: int) -> bool:
        """Wait, without a slot, until the run-once step of another node has ended; whether this one may follow."""
        if job.dead:
            return False
        answer: AsyncResult[bool] = AsyncResult()
        job.waits[step] = answer
        self.outbox.flush()  # other nodes may wait for the results of this one
        try:
            if self.session.reconciled.is_set():  # else `ask_waits` asks after the welcome
                self._ask_wait(job, step)
            return bool(answer.get())
        finally:
            job.waits.pop(step, None)

    def ask_waits(self, job: JobRunner) -> None:
        """Ask again after a welcome: the server may be another process."""
        for step in job.waits:
            self._ask_wait(job, step)

    def _ask_wait(self, job: JobRunner, step: int) -> None:
        self.session.send(messages.encode("run_once_wait", job=job.id, step=step))

    def run_once_ended(self, fields: dict[str, Any]) -> None:
        """The run-once step before one of our steps has ended; with an `error` ours never begins."""
        job = self.session.jobs.get(fields["job"])
        answer = job.waits.get(fields["step"]) if job is not None else None
        if answer is not None:
            if fields["error"]:
                log.info("step %d of job %s is not run: %s", fields["step"] + 1, fields["job"], fields["error"])
            answer.set(not fields["error"])

    # -- one step -----------------------------------------------------------------------------------------

    def _run_now(self, job: JobRunner, scope: Scope, step: Step) -> TaskResult:
        number, now = step["i"], time.monotonic()
        running = job.running[number] = Running(number, now + self.session.offset, now, gevent.getcurrent())
        self._count(1)
        try:
            outcome, attempt = self._attempts(job, scope, step, running)
            return self._report(job, scope, step, running, outcome, attempt)
        finally:
            self._count(-1)
            del job.running[number]
            self.report_cancelled(job)

    def _attempts(self, job: JobRunner, scope: Scope, step: Step, running: Running) -> tuple[Outcome, int]:
        """The outcome of the last attempt, and its number."""
        number, most = step["i"], int(step["flags"].get("retry", 1) or 1)
        attempt = job.attempts.pop(number, 1)
        try:
            while True:
                self._write(self.journal.started, "step %d of job %s cannot begin", job.id, number, attempt)
                running.attempt = attempt
                outcome = self._try(job, scope, step, running)
                if outcome.state not in (st.FAILED, st.TIMEOUT) or attempt >= most or job.cancelled:
                    return outcome, attempt
                if self.draining:
                    if "client stopped" not in outcome.reason:
                        outcome.reason += f"; client stopped before attempt {attempt + 1} of {most}"
                    return outcome, attempt
                gevent.sleep(min(RETRY_LAST, RETRY_FIRST * 2 ** (attempt - 1)))
                self.session.wait_reconciled()
                if job.dead:  # the server has dropped it meanwhile
                    return outcome, attempt
                attempt += 1
        except Interrupted:
            return Outcome(st.FAILED, reason="client stopped"), attempt

    def _try(self, job: JobRunner, scope: Scope, step: Step, running: Running) -> Outcome:
        """One attempt; an unexpected exception fails the step and does not end the job's greenlet."""
        try:
            return self._apply(self, job, scope, step, running)
        except Exception as error:
            log.exception("step %d of job %s failed in an unexpected way", step["i"] + 1, job.id)
            return Outcome(st.FAILED, reason=job.secrets.hide(f"{type(error).__name__}: {error}"))

    def _report(
        self, job: JobRunner, scope: Scope, step: Step, running: Running, outcome: Outcome, attempt: int
    ) -> TaskResult:
        running.greenlet = None  # from here on a cancel must not keep the result from the journal
        if outcome.effects:
            _limit_effects(outcome)
            scope.apply(outcome.effects)
            self.session.node.apply(outcome.effects)
        if outcome.private:
            scope.hide(outcome.private)
            job.made[step["i"]] = outcome.private
        if job.cancelled and outcome.state not in st.GOOD:
            outcome.state, outcome.reason = st.CANCELLED, job.cancelled
        elif outcome.state in st.IGNORABLE and step["flags"].get("ignore-errors"):
            outcome.reason = f"ignored: {outcome.reason}" if outcome.reason else "ignored"
        now = time.monotonic()
        row = TaskResult(
            step["i"], chr(outcome.state), outcome.exit_code, to_micros(running.at),
            to_micros(now + self.session.offset), to_micros(now - running.since), 0, attempt,
            outcome.reason[:2000] or None, outcome.truncated, len(outcome.stdout), len(outcome.stderr),
            outcome.effects or None,
        )  # fmt: skip
        outputs = outcome.stdout + outcome.stderr if outcome.stderr else outcome.stdout
        self.keep(job, row, outputs, more=job.pending and outcome.state not in st.BAD)
        return row

    def keep(self, job: JobRunner, row: TaskResult, outputs: bytes = b"", more: bool = False) -> None:
        """Journal a result and queue it for the server; `more` says whether another one is about to follow."""
        failure = "the result of step %d of job %s cannot be kept"
        self._write(self.journal.result, failure, job.id, row.step, row, outputs)
        self.outbox.add(job.id, row, outputs, more)

    def _write(self, write: Callable[..., object], failure: str, job: str, step: int, *args: Any) -> None:
        """Write to the journal; when the disk is full, try again until it is not.

        Nothing may be done or reported that is not in the journal.
        """
        errors, me = self.session.disk_errors, gevent.getcurrent()
        try:
            while True:
                try:
                    write(job, step, *args)
                    break
                except StoreError as error:
                    what = failure % (step + 1, job)
                    if me not in errors:
                        log.error("%s: %s; it is tried again", what, error)
                    errors[me] = f"{what}: {error}"
                gevent.sleep(DISK_AGAIN)
            if me in errors:
                log.warning("the journal can be written again")
        finally:
            errors.pop(me, None)

    # -- what runs ----------------------------------------------------------------------------------------

    def _count(self, change: int) -> None:
        """Count the steps that run; while there are any, a timer reports those that take long."""
        if self._running == 0:
            self._timer = gevent.get_hub().loop.timer(RUNNING_AFTER, RUNNING_AFTER)
            self._timer.start(self._report_long)
        self._running += change
        if self._running == 0:
            self._timer.close()

    def _report_long(self) -> None:
        """Called by the event loop."""
        limit = time.monotonic() - RUNNING_AFTER
        for job in list(self.session.jobs.values()):
            for running in list(job.running.values()):
                if not running.reported and running.since < limit:
                    running.reported = True
                    self.outbox.begun(job.id, running.step, to_micros(running.at))

    def interrupt(self, running: Running) -> None:
        """End a running step: its process by signals, anything else by an exception in its greenlet."""
        end_process(running.handle)
        if running.greenlet is not None and not running.in_process:
            gevent.get_hub().loop.run_callback(_throw, running)

    def report_cancelled(self, job: JobRunner) -> None:
        """When nothing of a cancelled job runs any more, report that its other steps never will."""
        if job.cancelled and not job.running and self.outbox.open and job.id in self.session.jobs:
            self.outbox.end_range(job.id, 0, max(0, job.cursor - 1), chr(st.CANCELLED), job.cancelled)

    def busy(self, besides: Sequence[Running]) -> bool:
        """Whether anything runs, or has a slot, besides these."""
        return self._running > len(besides) or self.slots.count - self.slots.free > len(besides)

    def drain(self, seconds: float) -> None:
        """Start nothing new; interrupt what still runs after `seconds`; send the results that are there.

        A REBOOT that has begun goes on: the next client reports it.
        """
        self.draining = True
        steps = [running for job in self.session.jobs.values() for running in job.running.values()]
        away = sum(running.away for running in steps)
        self._wait_idle(away, seconds)
        for job in self.session.jobs.values():
            for running in list(job.running.values()):
                if not running.away:
                    self.interrupt(running)
        self._wait_idle(away, INTERRUPT_SECONDS)
        self.outbox.flush()

    def _wait_idle(self, away: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._running > away and time.monotonic() < deadline:
            gevent.sleep(0.02)


def _throw(running: Running) -> None:
    """Called by the event loop: interrupt the greenlet, unless the step has ended and it runs another one by now."""
    if running.greenlet is not None:
        running.greenlet.throw(Interrupted)


def to_micros(seconds: float) -> float:
    """Round to the microsecond; `round` takes ten times as long for an epoch time."""
    return int(seconds * 1e6 + 0.5) / 1e6


def _limit_effects(outcome: Outcome) -> None:
    """Fail a step whose values do not fit a message: no other node and no resumed job could use them."""
    size = len(ujson.dumps(outcome.effects))
    if size > EFFECTS_LIMIT:
        most = EFFECTS_LIMIT >> 10
        why = f"the values it set (ARG, --stdout-arg, QUERY) come to {size >> 10} KiB; expected at most {most}"
        outcome.reason = f"{outcome.reason}; {why}" if outcome.state not in st.GOOD else why
        outcome.state = st.FAILED if outcome.state in st.GOOD else outcome.state
        outcome.effects = {}

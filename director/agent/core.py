"""The client's side of the protocol: takes messages, keeps the journal, runs what it was given, reports.

It knows neither sockets nor processes: `send` queues a message, `apply` runs one attempt of a step. The real
client and the fleet simulator both run this very code.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gevent
import ujson
from gevent.event import AsyncResult, Event

from director import __version__
from director import states as st
from director.agent.job_runner import JobRunner, Running, Step
from director.agent.journal.base import ClientJournal
from director.agent.outbox import Outbox
from director.agent.replay import forgotten, repeated
from director.agent.slots import Slots
from director.errors import BusyError, ProtocolError, StoreError
from director.language.scope import Scope
from director.process import cancel as end_process
from director.protocol import messages
from director.protocol.results import TaskResult
from director.runtime.greenlets import jitter, spawn
from director.runtime.liveness import Pulse
from director.verbs.base import Outcome

log = logging.getLogger(__name__)

TELL_AFTER = 0.25  # seconds after which a running step is reported as running
RETRY_FIRST = 1.0
RETRY_LAST = 30.0
DISK_AGAIN = 1.0
HELLO_AGAIN = 1.0  # seconds a hello is waited for before another question is answered
DEFAULT_TIMEOUT = 600.0
UNSAID = 5  # beats that are left out in a row; the next one brings the loop's lag
EFFECTS_LIMIT = 2 * 1024 * 1024  # bytes of JSON that the values set by one step may have, to fit a message
TROUBLE_LIMIT = 500

Apply = Callable[["Agent", JobRunner, Scope, Step, Running], Outcome]


class Agent:
    """One enrolled client.

    Args:
        name: of the node.
        journal: what it was given and did.
        apply: runs one attempt of a step.
        profile: `{"facts", "labels", "args"}` as they are now.
        concurrency: tasks at once.
    """

    def __init__(
        self, name: str, journal: ClientJournal, apply: Apply, profile: Callable[[], dict[str, Any]],
        concurrency: int = 8, about: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.journal = journal
        self.held: dict[str, JobRunner] = {}
        self.transmit: Callable[..., bool] = lambda *frames: False
        self.outbox = Outbox(journal, lambda header, payload: self.transmit(header, payload))
        self.pulse = Pulse(10.0, time.monotonic())
        self.offset = time.time() - time.monotonic()  # server's clock minus our monotonic one
        self.settled = Event()  # the server has said what becomes of what we hold
        self.refused = ""
        self.retry = 0.0
        self.away_until = 0.0  # until when we will be back from a restart of the host, monotonic
        self.on_chunk: Callable[[dict[str, Any], bytes], None] = lambda fields, piece: None
        self.on_foresee: Callable[[dict[str, Any], list[bytes]], None] = lambda fields, payload: None
        self.on_effects: Callable[[dict[str, Any]], bool] = lambda effects: False
        self.on_inherit: Callable[[dict[str, str]], None] = lambda labels: None
        self.on_close: Callable[[str], None] = lambda job: None
        self.on_settled: Callable[[], object] = lambda: None
        self.exchanged: dict[str, Callable[[dict[str, Any], bytes], None]] = {}  # what other nodes need or have sent
        self.lag: Callable[[], float] = lambda: 0.0
        self._apply = apply
        self._profile = profile
        self.slots = Slots(concurrency)
        self._about = dict(about or {})
        self._draining = False
        self._life = os.urandom(8).hex()  # tells this process from another one with the same state folder
        # between our hello and the welcome, and behind a slice that was not taken, no slice is: the server takes
        # back what our hello does not name, so that what it calls queued surely is not here
        self._deaf = False
        self._asked = float("-inf")  # when a hello went that was not answered yet
        self._running = 0
        self._unsaid = 0  # beats in a row that were not needed
        self._untaken = ""  # why the last steps that came could not be taken
        self._stuck: dict[Any, str] = {}  # greenlets that wait for the journal, and for what
        self._told = ""  # trouble that the server knows of
        self._ticker: Any = None
        self._hello: Any = None

    # -- connection ---------------------------------------------------------------------------------------

    def take(self, frames: list[bytes]) -> None:
        """One message of the server; one that waited while we were stopped does not make up for the silence."""
        if self._cut_off():
            self.handle_identify({"v": messages.VERSION, "within": 0.0}, [])
        self.pulse.hear(time.monotonic())
        try:
            kind, fields, payload = messages.decode(frames, "server")
        except ProtocolError as error:
            log.warning("the server sent what this client does not understand: %s", error)
            return
        exchanged = self.exchanged.get(kind)
        if exchanged is not None:
            exchanged(fields, payload[0] if payload else b"")
        else:
            getattr(self, f"handle_{kind}")(fields, payload)

    def beat(self) -> None:
        """Say that we live; after three silent beats nothing starts until the server has settled with us."""
        self._cut_off()
        now = time.monotonic()
        away = round(max(0.0, self.away_until - now), 3)
        if self._is_heard(now) and not away:
            self._unsaid += 1
            return
        self._unsaid, self._told = 0, self.trouble
        lag = round(self.lag(), 4)
        position = self.journal.mark
        self.transmit(messages.encode("heartbeat", journal_position=position, lag=lag, trouble=self._told, away=away))

    @property
    def trouble(self) -> str:
        """What waits for the journal, and why no steps are taken, for the server to show; "" for nothing."""
        waits = next(iter(self._stuck.values()), "")
        return "; ".join(filter(None, (waits, self._untaken)))[:TROUBLE_LIMIT]

    def _is_heard(self, now: float) -> bool:
        """Whether results and their acknowledgements of a moment ago say all that a beat would; not many in a row."""
        lately = self.pulse.interval / 2
        fresh = now - self.outbox.last < lately and self.pulse.silence(now) < lately
        return fresh and self.trouble == self._told and self._unsaid < UNSAID

    def _cut_off(self) -> bool:
        """Whether three beats were missed since we settled; then we no longer are."""
        if not (self.settled.is_set() and self.pulse.silent(time.monotonic())):
            return False
        self.unsettle()
        return True

    def unsettle(self) -> None:
        """We were cut off: start nothing before the server has said what becomes of what we hold."""
        if self.settled.is_set():
            log.warning(
                "the server was silent for %.0f s; nothing starts until it answers",
                self.pulse.silence(time.monotonic()),
            )
        self.settled.clear()
        self.outbox.shut()

    def handle_identify(self, fields: dict[str, Any], payload: list[bytes]) -> None:
        """The server asks who we are, and how long we may spread the answer over."""
        if fields["v"] != messages.VERSION:
            log.error(
                "the server speaks protocol %s, this client %s; install the server's version",
                fields["v"],
                messages.VERSION,
            )
            return
        if self.settled.is_set() and time.monotonic() - self._asked < HELLO_AGAIN:
            return  # the answer is on its way; a second hello would name less than is here by then
        self.outbox.shut()  # a server that asks drops what we send; all of it goes again when we are welcome
        if self._hello is None:
            self._hello = spawn("hello", self._say_hello, vital=False, after=jitter(fields["within"]))

    def _say_hello(self) -> None:
        self._hello = None
        self._deaf, self._asked = True, time.monotonic()
        held = [(job, held.upto) for job, held in self.held.items()]
        hello = messages.encode(
            "hello", v=messages.VERSION, name=self.name, version=__version__, instance=self.journal.instance,
            journal_position=self.journal.mark, jobs=held, process_token=self._life, profile=self._profile(),
            **self._ages(),
        )  # fmt: skip
        if not self.transmit(hello):  # the connection broke; the next one begins with another question
            self._asked = float("-inf")

    def _ages(self) -> dict[str, float]:
        now = time.time()
        return {name: round(now - start, 3) for name, start in self._about.items()}

    def handle_welcome(self, fields: dict[str, Any], payload: list[bytes]) -> None:
        """The server has settled: what it says becomes of each job, then everything not stored goes again."""
        self.refused = ""
        self.pulse.interval = max(0.05, float(fields["interval"]))
        self.offset = float(fields["now"]) - time.monotonic()
        self._deaf, self._asked = False, float("-inf")
        self.outbox.shut()  # until the results go again: that the rest is cancelled must not overtake them
        unreported = {job for _, job, row in self.journal.waiting() if row.state != chr(st.LOST)}
        for job, order in fields["jobs"].items():
            self._obey(job, order, job in unreported)
        for held in self.held.values():
            for running in held.running.values():
                running.told = False  # the server may be another process than the one that was told
        self.outbox.reopen()
        if not self.settled.is_set():
            log.info("settled with the server (%d jobs here)", len(self.held))
        self.settled.set()
        if "inherit" in fields:
            self._inherit(**fields["inherit"])
        self.on_settled()
        for job, held in list(self.held.items()):
            self._end_cancelled(job)
            for step in held.waits:
                self._ask_turn(job, step)

    def _inherit(self, why: str, labels: dict[str, str]) -> None:
        """The name was another key's: its labels are this node's now, and the server is told so."""
        log.warning("%s: this client's key %s", self.name, why)
        self.on_inherit(labels)
        self.send_profile()

    def _obey(self, job: str, order: Mapping[str, Any], unreported: bool) -> None:
        held = self.held.get(job)
        if held is None:
            return
        if order.get("open") and (record := self.journal.replay().get(job)):
            self._tell_again(job, forgotten(record, order["open"]))
        if order["act"] == "cancel":
            self._cancel(job, order.get("reason", "cancelled"))
        elif order["act"] == "drop":
            held.drop()
            if not held.running and not unreported:  # what comes late is kept there too
                self._close(job)

    def _tell_again(self, job: str, rows: Sequence[TaskResult]) -> None:
        """The server has forgotten these results: it goes on from an older state of its ledger."""
        if rows:
            log.warning("job %s: the server does not know %d results that it had stored; they go again", job, len(rows))
        try:
            for row in rows:
                self.journal.result(job, row.step, row)
                self.outbox.add(job, row, b"", True)
        except StoreError as error:  # the next welcome finds the rest
            log.error("results that the server has forgotten cannot be kept: %s", error)
        self.outbox.flush()

    def handle_refused(self, fields: dict[str, Any], payload: list[bytes]) -> None:
        """The server does not take us as we are."""
        if fields["reason"] != self.refused:
            log.error("the server refuses this client: %s", fields["reason"])
        self.refused = fields["reason"]
        self.retry = float(fields["retry"])

    def handle_heartbeat_ack(self, fields: dict[str, Any], payload: list[bytes]) -> None:
        """A sign of life."""

    # -- work ---------------------------------------------------------------------------------------------

    def handle_slice(self, fields: dict[str, Any], payload: list[bytes]) -> None:
        """Steps to run: journaled and flushed to disk before any of them starts."""
        if self._deaf:
            return
        chunk, head = ([*payload, b"", b""])[:2]
        job, parts = fields["job"], [(int(first), int(last)) for first, last in fields["parts"]]
        held = self.held.get(job)
        if held is None and not head:
            self._refuse(0.0)
            return
        facts = ujson.loads(head) if held is None else {}
        try:
            self.journal.take(fields["seq"], job, facts, parts, chunk)
        except (BusyError, StoreError) as error:
            log.error("cannot take steps of job %s: %s", job, error)
            self._untaken = f"takes no steps: {error}"
            self._refuse(self.pulse.interval)
            return
        self._untaken = ""
        if held is None:
            held = self.held[job] = self.new_job(job, facts)
        before = held.upto
        held.add(fields["chunk"], chunk, parts)
        if parts[0][0] < before and (record := self.journal.replay().get(job)):
            again = {step for first, last in parts for step in range(first, min(last + 1, before))}
            self._tell_again(job, repeated(record, again))

    def _refuse(self, pause: float) -> None:
        """Take nothing, lest steps run out of order, until the server has heard what is here."""
        self._deaf = True
        who = {"v": messages.VERSION, "within": min(pause, 1.0)}
        spawn("hello again", self.handle_identify, who, [], vital=False, after=pause)

    def new_job(self, job: str, head: Mapping[str, Any]) -> JobRunner:
        """A job that came to this client, with its first values."""
        scope = Scope(remembered=dict(self._profile()["args"]), overrides=dict(head["options"].get("args", {})))
        return JobRunner(job, head, scope, self._run_step)

    def _run_step(self, held: JobRunner, scope: Scope, step: Step) -> TaskResult:
        """Run one step when there is a slot and the server has settled; journal, report, give its row.

        One that will never run as another node's run-once step did not go well is skipped: the server says so.
        """
        if held.is_behind(step) and not self._may_begin(held, step["i"]):
            return TaskResult(step["i"], chr(st.SKIPPED))
        self.slots.take(held.job)
        try:
            self._cut_off()  # stopped for a while, a child's end may wake us before anything of the network does
            self.settled.wait()
            if held.dead or held.cancelled or self._draining:
                raise gevent.GreenletExit
            return self.run_now(held, scope, step, held.attempts.pop(step["i"], 1))
        finally:
            self.slots.give()

    def _may_begin(self, held: JobRunner, step: int) -> bool:
        """Wait, without a slot, until the run-once step of another node has ended; whether this one may follow."""
        if held.dead:
            return False
        answer: AsyncResult[bool] = AsyncResult()
        held.waits[step] = answer
        self.outbox.flush()  # others may wait for what ran here before
        try:
            if self.settled.is_set():  # else it is asked when we are welcomed
                self._ask_turn(held.job, step)
            return bool(answer.get())
        finally:
            held.waits.pop(step, None)

    def _ask_turn(self, job: str, step: int) -> None:
        self.transmit(messages.encode("run_once_wait", job=job, step=step))

    def handle_run_once_ended(self, fields: dict[str, Any], payload: list[bytes]) -> None:
        """The run-once step before one of ours has ended: go on, or never."""
        held = self.held.get(fields["job"])
        answer = held.waits.get(fields["step"]) if held is not None else None
        if answer is not None:
            if fields["error"]:
                log.info("step %d of job %s is not run: %s", fields["step"], fields["job"], fields["error"])
            answer.set(not fields["error"])

    def run_now(self, held: JobRunner, scope: Scope, step: Step, attempt: int = 1) -> TaskResult:
        """All attempts of one step."""
        number, retry = step["i"], int(step["flags"].get("retry", 1) or 1)
        now = time.monotonic()
        running = held.running[number] = Running(number, now + self.offset, now)
        self._running += 1
        self._start_ticker()
        running.greenlet = gevent.getcurrent()
        try:
            outcome, attempt = self._attempts(held, scope, step, running, attempt, retry)
            return self._report(held, scope, step, running, outcome, attempt)
        finally:
            self._running -= 1
            held.running.pop(number, None)
            if held.cancelled:
                self._end_cancelled(held.job)

    def _attempts(
        self, held: JobRunner, scope: Scope, step: Step, running: Running, attempt: int, retry: int
    ) -> tuple[Outcome, int]:
        try:
            while True:
                what = f"step {step['i']} of job {held.job} cannot begin"
                self._patiently(what, self.journal.started, held.job, step["i"], attempt)
                outcome = self._try(held, scope, step, running)
                if outcome.state not in (st.FAILED, st.TIMEOUT) or attempt >= retry or held.cancelled:
                    return outcome, attempt
                if self._draining:
                    if "client stopped" not in outcome.reason:
                        outcome.reason += f"; client stopped before attempt {attempt + 1} of {retry}"
                    return outcome, attempt
                gevent.sleep(min(RETRY_LAST, RETRY_FIRST * 2 ** (attempt - 1)))
                self._cut_off()
                self.settled.wait()
                if held.dead:  # given up by the server meanwhile
                    return outcome, attempt
                attempt += 1
        except Interrupted:
            return Outcome(st.FAILED, reason="client stopped"), attempt

    def _keep_result(self, job: str, row: TaskResult, outputs: bytes) -> None:
        what = f"the result of step {row.step} of job {job} cannot be kept"
        self._patiently(what, self.journal.result, job, row.step, row, outputs)

    def _patiently(self, what: str, write: Callable[..., object], *args: Any) -> None:
        """Write to the journal; a full disk is waited for, as nothing may be done or told that is not in it."""
        me = gevent.getcurrent()
        try:
            while True:
                try:
                    write(*args)
                    break
                except StoreError as error:
                    if me not in self._stuck:
                        log.error("%s: %s; it is tried again", what, error)
                    self._stuck[me] = f"{what}: {error}"
                    gevent.sleep(DISK_AGAIN)
            if me in self._stuck:
                log.warning("the journal can be written again")
        finally:
            self._stuck.pop(me, None)

    def _try(self, held: JobRunner, scope: Scope, step: Step, running: Running) -> Outcome:
        """One attempt; whatever goes wrong in it is the step's failure, never the end of the job's greenlet."""
        try:
            return self._apply(self, held, scope, step, running)
        except Exception as error:
            log.exception("step %d of job %s failed in an unexpected way", step["i"], held.job)
            return Outcome(st.FAILED, reason=f"{type(error).__name__}: {error}")

    def _report(
        self, held: JobRunner, scope: Scope, step: Step, running: Running, outcome: Outcome, attempt: int
    ) -> TaskResult:
        running.greenlet = None  # it has ended: a cancel must not keep its result from the journal
        bound(outcome)
        if outcome.effects:
            scope.apply(outcome.effects)
            if self.on_effects(outcome.effects):
                self.send_profile()
        if held.cancelled and outcome.state not in st.GOOD:
            outcome.state, outcome.reason = st.CANCELLED, held.cancelled
        elif outcome.state in st.IGNORABLE and step["flags"].get("ignore-errors"):
            outcome.reason = f"ignored: {outcome.reason}" if outcome.reason else "ignored"
        now = time.monotonic()
        row = TaskResult(
            step["i"], chr(outcome.state), outcome.exit_code, to_micros(running.at), to_micros(now + self.offset),
            to_micros(now - running.since), 0, attempt, outcome.reason[:2000] or None, outcome.truncated,
            len(outcome.stdout), len(outcome.stderr), outcome.effects or None,
        )  # fmt: skip
        outputs = outcome.stdout + outcome.stderr if outcome.stderr else outcome.stdout
        self._keep_result(held.job, row, outputs)
        more = held.pending and outcome.state not in st.BAD
        self.outbox.add(held.job, row, outputs, more)
        return row

    def send_profile(self) -> None:
        """Tell the server that labels, ARGs or facts have changed."""
        self.transmit(messages.encode("profile", **self._profile()))

    def handle_ack(self, fields: dict[str, Any], payload: list[bytes]) -> None:
        """Results are on the server's disk; jobs that are over there are forgotten here."""
        try:
            self.outbox.acknowledged(fields["number"])
        except StoreError as error:  # they go once more, and are recognised
            log.error("that results are stored cannot be kept: %s", error)
        for job in fields["close"]:
            held = self.held.get(job)
            if held is not None:
                held.drop()
                if not held.running:
                    self._close(job)

    def _close(self, job: str) -> None:
        self.held.pop(job, None)
        try:
            self.journal.closed(job)
        except StoreError as error:  # found again at the next start, and dropped then
            log.error("the end of job %s cannot be kept: %s", job, error)
        self.on_close(job)

    # -- cancelling ---------------------------------------------------------------------------------------

    def handle_cancel(self, fields: dict[str, Any], payload: list[bytes]) -> None:
        """End jobs: what runs is ended, what waits never starts; reported when the processes are gone."""
        for job, reason in fields["jobs"]:
            self._cancel(job, reason)

    def _cancel(self, job: str, reason: str) -> None:
        held = self.held.get(job)
        if held is None:
            return
        if not held.cancelled:
            held.cancelled = reason
            held.drop()
            self._give_up_attempts(held)
            for running in list(held.running.values()):
                self.interrupt(running)
            try:
                self.journal.note(job, {"cancelled": reason})
            except StoreError as error:  # the server tells us again when we come back
                log.error("the cancel of job %s cannot be kept: %s", job, error)
        self._end_cancelled(job)

    def _give_up_attempts(self, held: JobRunner) -> None:
        """Steps that an earlier client was running and that were to begin once more: nobody knows how they ended."""
        for step, attempt in held.attempts.items():
            reason = f"the client died while it ran; no other attempt was made: {held.cancelled}"
            now = to_micros(time.time())
            row = TaskResult(step, chr(st.LOST), finished_at=now, attempt=attempt - 1, reason=reason)
            self._keep_result(held.job, row, b"")
            self.outbox.add(held.job, row, b"", False)
        held.attempts.clear()

    def interrupt(self, running: Running) -> None:
        """End a step that runs: its process by signals, and anything else by an exception in its greenlet."""
        end_process(running.handle)
        if running.greenlet is not None and not running.in_process:
            running.greenlet.kill(Interrupted, block=False)

    def _end_cancelled(self, job: str) -> None:
        """When nothing of a cancelled job runs any more, say what never will."""
        held = self.held.get(job)
        if held is not None and held.cancelled and not held.running and self.outbox.open:
            self.outbox.rest(job, 0, max(0, held.upto - 1), chr(st.CANCELLED), held.cancelled)

    # -- telling what runs --------------------------------------------------------------------------------

    def _start_ticker(self) -> None:
        if self._ticker is None:
            self._ticker = gevent.get_hub().loop.timer(TELL_AFTER, TELL_AFTER)
            self._ticker.start(self._tick)

    def _tick(self) -> None:
        """In the hub, while steps run: report those that take their time; ends when nothing runs."""
        if not self._running:
            self._ticker.close()
            self._ticker = None
            return
        limit = time.monotonic() - TELL_AFTER
        for held in list(self.held.values()):
            for running in list(held.running.values()):
                if not running.told and running.since < limit:
                    running.told = True
                    self.outbox.begun(held.job, running.step, to_micros(running.at))

    # -- the end and the beginning ------------------------------------------------------------------------

    def drain(self, seconds: float, reason: str = "client stopped") -> None:
        """Start nothing new, give what runs `seconds`, then end it; results go out as far as they can."""
        self._draining = True
        deadline = time.monotonic() + seconds
        away = [running for held in self.held.values() for running in held.running.values() if running.away]
        while self._running > len(away) and time.monotonic() < deadline:
            gevent.sleep(0.02)
        for held in self.held.values():
            for running in list(held.running.values()):
                if not running.away:
                    self.interrupt(running)
        limit = time.monotonic() + 7.0
        while self._running > len(away) and time.monotonic() < limit:
            gevent.sleep(0.02)
        self.outbox.flush()

    def busy(self, besides: Sequence[Running]) -> bool:
        """Whether anything runs here, or is about to, besides these."""
        others = self._running - len(besides)
        return others > 0 or self.slots.count - self.slots.free > len(besides)

    @property
    def draining(self) -> bool:
        """Whether the client ends."""
        return self._draining

    def handle_blob_piece(self, fields: dict[str, Any], payload: list[bytes]) -> None:
        """A piece of a file."""
        self.on_chunk(fields, payload[0] if payload else b"")

    def handle_dry_run(self, fields: dict[str, Any], payload: list[bytes]) -> None:
        """What would these steps do here?"""
        self.on_foresee(fields, payload)

    def aside(self) -> contextlib.AbstractContextManager[None]:
        """Let other tasks run while this one waits for other nodes."""
        return self.slots.aside()


def to_micros(seconds: float) -> float:
    """Rounded to the microsecond; `round` takes ten times as long for an epoch time."""
    return int(seconds * 1e6 + 0.5) / 1e6


def bound(outcome: Outcome) -> None:
    """A step whose values are too large for the server to be told has failed: nobody could go on from it."""
    size = len(ujson.dumps(outcome.effects)) if outcome.effects else 0
    if size > EFFECTS_LIMIT:
        most = EFFECTS_LIMIT >> 10
        why = f"the values it set (ARG, --stdout-arg, QUERY) come to {size >> 10} KiB; expected at most {most}"
        outcome.reason = f"{outcome.reason}; {why}" if outcome.state not in st.GOOD else why
        outcome.state = st.FAILED if outcome.state in st.GOOD else outcome.state
        outcome.effects = {}


class Interrupted(gevent.GreenletExit):
    """A step's greenlet shall end now."""

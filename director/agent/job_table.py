"""The jobs of a client: takes slices, follows the server's orders, cancels jobs and forgets those that are over.

It also replays: results are sent again to a server that was restored from an older ledger. The journal keeps the row of
every result until its job is closed, the outputs only until they are stored.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import ujson

from director import states as st
from director.agent.job_runner import JobRunner
from director.agent.journal.state import JobRecord
from director.agent.session import Session
from director.agent.step_runner import StepRunner, to_micros
from director.errors import BusyError, StoreError
from director.language.scope import Scope
from director.protocol.results import TaskResult

log = logging.getLogger(__name__)


class JobTable:
    """The jobs of one client; they are in `session.jobs`."""

    def __init__(self, session: Session, runner: StepRunner) -> None:
        self.jobs = session.jobs
        self.journal = session.journal
        self._session, self._runner, self._outbox = session, runner, session.outbox

    def add(self, name: str, head: Mapping[str, Any]) -> JobRunner:
        """Begin to hold a job; `head` is that of its first slice."""
        args = dict(self._session.node.as_message()["args"])
        scope = Scope(remembered=args, overrides=dict(head["options"].get("args", {})))
        job = self.jobs[name] = JobRunner(name, head, scope, self._runner.run, self._session.node.pass_over)
        return job

    def take_slice(self, fields: dict[str, Any], head: bytes = b"", *chunks: bytes) -> None:
        """Journal a slice, then start its steps. After one that was not taken the next ones are ignored too."""
        session = self._session
        if session.ignores_slices:
            return
        name, parts = fields["job"], [(int(first), int(last)) for first, last in fields["parts"]]
        job = self.jobs.get(name)
        if job is None and not head:
            session.refuse_slices(0.0)
            return
        facts = ujson.loads(head) if job is None else {}
        try:
            self.journal.take(name, facts, parts, chunks)
        except (BusyError, StoreError) as error:
            log.error("cannot take steps of job %s: %s", name, error)
            session.slice_error = f"takes no steps: {error}"
            session.refuse_slices(session.pulse.interval)
            return
        session.slice_error = ""
        job = job or self.add(name, facts)
        before = job.cursor
        for part, chunk in zip(parts, chunks, strict=True):
            job.add(chunk, *part)
        if parts[0][0] < before and (record := self.journal.jobs.get(name)):
            again = {step for first, last in parts for step in range(first, min(last + 1, before))}
            self._report_again(name, repeated(record, again))

    def _report_again(self, name: str, rows: Sequence[TaskResult]) -> None:
        """The server has lost these results: it was restored from an older ledger."""
        if rows:
            log.warning("job %s: the server lost %d results that it had stored; they are sent again", name, len(rows))
        try:
            for row in rows:
                self.journal.result(name, row.step, row)
                self._outbox.add(name, row, b"", True)
        except StoreError as error:  # the rest is found at the next welcome
            log.error("results that the server has lost cannot be journaled: %s", error)
        self._outbox.flush()

    # -- orders of the server -----------------------------------------------------------------------------

    def follow(self, orders: Mapping[str, Mapping[str, Any]]) -> None:
        """What the welcome says of each job: `{"act": "go" | "drop" | "cancel", "reason", "open": open tasks here}`."""
        lost = chr(st.LOST)
        unreported = {name for _, name, row in self.journal.waiting() if row.state != lost} if self.jobs else ()
        for name, order in orders.items():
            job = self.jobs.get(name)
            if job is None:
                continue
            if order.get("open") and (record := self.journal.jobs.get(name)):
                self._report_again(name, forgotten(record, order["open"]))
            if order["act"] == "cancel":
                self._cancel(job, order.get("reason", "cancelled"))
            elif order["act"] == "drop":
                self._drop(job, keep=name in unreported)  # the server records a late result too
        for job in self.jobs.values():
            for running in job.running.values():
                running.reported = False  # this server process may not know that it runs

    def resume(self) -> None:
        """After the welcome: repeat what a server that was started again does not know."""
        for job in list(self.jobs.values()):
            self._runner.report_cancelled(job)
            self._runner.ask_waits(job)

    def acknowledge(self, fields: dict[str, Any]) -> None:
        """Results are stored by the server; the jobs in `close` are over."""
        try:
            self._outbox.acknowledged(fields["number"])
        except StoreError as error:  # they are sent once more, and the server recognises them
            log.error("that results are stored cannot be journaled: %s", error)
        for name in fields["close"]:
            if (job := self.jobs.get(name)) is not None:
                self._drop(job)

    def _drop(self, job: JobRunner, keep: bool = False) -> None:
        """Start nothing more of a job; forget it, unless a step runs or `keep` is set."""
        job.drop()
        if job.running or keep:
            return
        del self.jobs[job.id]
        try:
            self.journal.closed(job.id)
        except StoreError as error:  # the next start finds it again, and the server has it dropped
            log.error("the end of job %s cannot be journaled: %s", job.id, error)
        self._session.node.end_job(job.id)

    # -- cancelling ---------------------------------------------------------------------------------------

    def cancel(self, fields: dict[str, Any]) -> None:
        """End what runs of the jobs and start nothing more; the result is reported when the processes are gone."""
        for name, reason in fields["jobs"]:
            if (job := self.jobs.get(name)) is not None:
                self._cancel(job, reason)

    def _cancel(self, job: JobRunner, reason: str) -> None:
        if not job.cancelled:
            job.cancelled = reason
            job.drop()
            self._give_up_attempts(job)
            for running in list(job.running.values()):
                self._runner.interrupt(running)
            try:
                self.journal.note(job.id, {"cancelled": reason})
            except StoreError as error:  # the next welcome has the order again
                log.error("the cancellation of job %s cannot be journaled: %s", job.id, error)
        self._runner.report_cancelled(job)

    def _give_up_attempts(self, job: JobRunner) -> None:
        """Steps that an earlier process of this client ran and that were to be tried again: their end is unknown."""
        for step, attempt in job.attempts.items():
            reason = f"the client died while it ran; no other attempt was made: {job.cancelled}"
            now = to_micros(time.time())
            self._runner.keep(job, TaskResult(step, chr(st.LOST), None, None, now, attempt=attempt - 1, reason=reason))
        job.attempts.clear()


def forgotten(record: JobRecord, open_there: int) -> list[TaskResult]:
    """Every stored result if the server counts more open tasks (`open_there`) than are open here, else none."""
    stored = _stored(record)
    return _without_outputs(record, stored) if open_there > len(record.given - stored) else []


def repeated(record: JobRecord, steps: Collection[int]) -> list[TaskResult]:
    """The stored results of `steps`, which the server has given again."""
    return _without_outputs(record, _stored(record).intersection(steps))


def _stored(record: JobRecord) -> set[int]:
    """Steps whose result the server had stored."""
    return record.done.keys() - record.results.keys()


def _without_outputs(record: JobRecord, steps: Collection[int]) -> list[TaskResult]:
    """Their results; the outputs, which are gone, count as truncated."""
    rows = [TaskResult._make(record.done[step]) for step in sorted(steps)]
    return [row._replace(truncated=row.truncated + row.output_size, stdout_size=0, stderr_size=0) for row in rows]

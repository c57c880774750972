"""What a client that was started again does with its journal: which steps go on, which are lost, what must be ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import Any

import ujson

from director import states as st
from director.agent.job_runner import JobRunner, Step
from director.agent.job_table import JobTable
from director.agent.journal.state import JobRecord
from director.agent.reboot import came_back
from director.protocol.results import TaskResult

log = logging.getLogger(__name__)

DIED = "the client or its host died while it ran; its outcome is unknown"
WENT_DOWN = "the host went down after it was handed over; its outcome is unknown"


def take_up(table: JobTable, rebooted: bool, boot: str = "") -> None:
    """Hold the jobs of the journal again; nothing starts before the session is reconciled.

    Args:
        rebooted: the host went down meanwhile. Then every given step without a result is lost: its effects, and the
            journal's last records, may not have reached the disk. After the death of the client alone only steps that
            were running are lost, or tried again where `--retry` leaves an attempt. A restart by REBOOT does not
            count: nothing else ran, and the journal was flushed.
        boot: id of this boot of the host.
    """
    records = list(table.journal.jobs.items())
    rebooted = rebooted and not any(_rebooted_host(record, boot) for _, record in records)
    for name, record in records:
        if not record.slices:  # only a result that came after the job was closed
            table.journal.closed(name)
            continue
        job = table.add(name, record.head)
        job.cancelled = str(record.notes.get("cancelled", ""))
        job.known = {step: TaskResult._make(row) for step, row in record.done.items()}
        _end_reboot(table, job, record, boot)
        if not rebooted:
            job.attempts = {step: n for step, n in _next_attempts(record).items() if step not in job.known}
        lost = (record.given if rebooted else record.in_flight.keys() - job.attempts.keys()) - job.known.keys()
        reason = WENT_DOWN if rebooted else DIED
        for step in sorted(lost, reverse=True):  # the last one first: the server skips what is behind a lost step
            _record(table, job, step, st.LOST, attempt=record.started.get(step, 1), reason=reason)
        if job.cancelled:
            job.dead = True
            job.cursor = max(piece.last + 1 for piece in record.slices)
            for one in _steps(record, lost):  # none of the others is passed over, so this forgets the whole stage
                job.pass_over(job, one, False)
        else:
            _requeue(job, record)
    if records:
        log.info("continues with %d jobs of the journal", len(records))


def may_run(record: JobRecord, copied: bool) -> set[int]:
    """Steps whose processes may still run; a copied journal does not know which began after it was copied."""
    return record.given - record.done.keys() if copied else set(record.in_flight)


def _rebooted_host(record: JobRecord, boot: str) -> bool:
    """Whether the host was restarted by a step of this job."""
    note = record.notes.get("reboot")
    return note is not None and note["step"] in record.in_flight and note["boot"] != boot


def _end_reboot(table: JobTable, job: JobRunner, record: JobRecord, boot: str) -> None:
    """Record how a REBOOT ended."""
    note = record.notes.get("reboot")
    if note is None or note["step"] not in record.in_flight:
        return
    state, reason = came_back(note, boot)
    step, took = note["step"], round(max(0.0, time.time() - note["at"]), 6)
    attempt = record.started.get(step, 1)
    _record(table, job, step, state, started_at=note["at"], execution_time=took, attempt=attempt, reason=reason or None)


def _record(table: JobTable, job: JobRunner, step: int, state: int, **fields: Any) -> None:
    """Journal the result of a step that ended before now."""
    row = job.known[step] = TaskResult(step, chr(state), finished_at=round(time.time(), 6), **fields)
    table.journal.result(job.id, step, row)


def _next_attempts(record: JobRecord) -> dict[int, int]:
    """Steps that were running and may be tried again, with the number of the next attempt."""
    running = record.in_flight
    if record.notes.get("cancelled") or not running:
        return {}
    most = {step["i"]: int(step["flags"].get("retry", 1) or 1) for step in _steps(record, running)}
    return {number: attempt + 1 for number, attempt in running.items() if attempt < most.get(number, 1)}


def _steps(record: JobRecord, numbers: Collection[int]) -> list[Step]:
    """The steps with these numbers, as they were given."""
    chunks = [ujson.loads(piece.body.read() or b"[]") for piece in record.slices]
    return [step for chunk in chunks for step in chunk if step["i"] in numbers]


def _requeue(job: JobRunner, record: JobRecord) -> None:
    """Queue all steps again, also those that have ended: their effects are applied again in their order."""
    for piece in sorted(record.slices, key=lambda piece: piece.first):
        job.add(piece.body.read(), piece.first, piece.last)

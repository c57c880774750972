"""What a client that starts again makes of its journal: what goes on, what is lost, what ran and must be ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import ujson

from director import states as st
from director.agent.core import Agent
from director.agent.job_runner import JobRunner, Step
from director.agent.journal.state import JobRecord
from director.agent.reboot import came_back
from director.protocol.messages import STEPS_PER_CHUNK
from director.protocol.results import TaskResult

log = logging.getLogger(__name__)

DIED = "the client or its host died while it ran; its outcome is unknown"
WENT_DOWN = "the host went down after it was handed over; its outcome is unknown"


def take_up(agent: Agent, records: Mapping[str, JobRecord], rebooted: bool, boot: str = "") -> None:
    """Hold again what the journal holds; nothing starts before the server has settled.

    Args:
        rebooted: the host went down in between: what was handed over and is not known to have ended is lost,
            as its effects, and the journal's last lines, may not have reached the disk. After the client's death
            alone only what was under way is lost, or runs again where `--retry` leaves an attempt. A REBOOT of
            ours is no such loss: nothing else ran, and the journal was on disk.
        boot: id of this boot of the host.
    """
    rebooted = rebooted and not any(_is_ours(record, boot) for record in records.values())
    for job, record in list(records.items()):
        if not record.slices:  # only a result that came after the job was closed
            agent.journal.closed(job)
            continue
        held = agent.held[job] = agent.new_job(job, record.head)
        held.cancelled = str(record.notes.get("cancelled", ""))
        held.known = {step: TaskResult._make(row) for step, row in record.done.items()}
        _end_reboot(agent, held, record, boot)
        if not rebooted:
            again = _again(record, _steps(record))
            held.attempts = {step: attempt for step, attempt in again.items() if step not in held.known}
        lost = record.handed if rebooted else record.in_flight.keys() - held.attempts.keys()
        lost -= held.known.keys()
        for step in sorted(lost, reverse=True):  # the last first, as the server skips what is behind a lost step
            row = _lose(agent, held, step, record.started.get(step, 1), WENT_DOWN if rebooted else DIED)
            held.known[step] = row
        if held.cancelled:
            held.dead = True
            held.upto = max(piece.last + 1 for piece in record.slices)
        else:
            _requeue(held, record)
    if records:
        log.info("took up %d jobs from the journal", len(records))


def _is_ours(record: JobRecord, boot: str) -> bool:
    """Whether the host went down because a step of this job asked for it."""
    note = record.notes.get("reboot")
    return note is not None and note["step"] in record.in_flight and note["boot"] != boot


def _end_reboot(agent: Agent, held: JobRunner, record: JobRecord, boot: str) -> None:
    """The result of a REBOOT, which only the client that is back can tell."""
    note = record.notes.get("reboot")
    if note is None or note["step"] not in record.in_flight:
        return
    state, reason = came_back(note, boot)
    step, now = note["step"], round(time.time(), 6)
    took = round(max(0.0, now - note["at"]), 6)
    attempt = record.started.get(step, 1)
    row = TaskResult(step, chr(state), None, note["at"], now, took, 0.0, attempt, reason or None)
    held.known[step] = row
    agent.journal.result(held.job, step, row, b"")


def _steps(record: JobRecord) -> dict[int, Step]:
    """The text of the steps that were under way."""
    wanted = record.in_flight
    steps: dict[int, Step] = {}
    for piece in record.slices if wanted else ():
        steps.update((step["i"], step) for step in ujson.loads(piece.chunk() or b"[]") if step["i"] in wanted)
    return steps


def _again(record: JobRecord, steps: Mapping[int, Step]) -> dict[int, int]:
    """Steps that may run once more after the client's death, with the number of the attempt that is next."""
    if record.notes.get("cancelled"):
        return {}
    return {
        number: attempt + 1
        for number, attempt in record.in_flight.items()
        if attempt < int(steps.get(number, {"flags": {}})["flags"].get("retry", 1) or 1)
    }


def may_run(record: JobRecord, copied: bool) -> set[int]:
    """Steps of which processes may be left; a copied journal does not know what began after it was copied."""
    return record.handed - record.done.keys() if copied else set(record.in_flight)


def _lose(agent: Agent, held: JobRunner, step: int, attempt: int, reason: str) -> TaskResult:
    now = round(time.time(), 6)
    row = TaskResult(step, chr(st.LOST), finished_at=now, attempt=attempt, reason=reason)
    agent.journal.result(held.job, step, row, b"")
    return row


def _requeue(held: JobRunner, record: JobRecord) -> None:
    """Give the job all its steps again, those that have ended too: their values are made anew in their order."""
    chunks = {}
    for piece in record.slices:
        body = piece.chunk()
        if body:
            chunks[piece.first // STEPS_PER_CHUNK] = body
    for piece in sorted(record.slices, key=lambda piece: piece.first):
        held.add(
            piece.first // STEPS_PER_CHUNK, chunks.pop(piece.first // STEPS_PER_CHUNK, b""), [(piece.first, piece.last)]
        )

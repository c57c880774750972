"""What a client that starts again makes of its journal: what goes on, what is lost, what ran and must be ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import ujson

from director import states as st
from director.agent.core import Agent
from director.agent.holding import Held, Row, Step
from director.journal.records import JobRecord

log = logging.getLogger(__name__)

CHUNK = 256
DIED = "the client or its host died while it ran; its outcome is unknown"
WENT_DOWN = "the host went down after it was handed over; its outcome is unknown"


def take_up(agent: Agent, records: Mapping[str, JobRecord], rebooted: bool) -> None:
    """Hold again what the journal holds; nothing starts before the server has settled.

    Args:
        rebooted: the host went down in between: what was handed over and is not known to have ended is lost,
            as its effects, and the journal's last lines, may not have reached the disk. After the client's death
            alone only what was under way is lost, or runs again where `--retry` leaves an attempt.
    """
    for job, record in list(records.items()):
        if not record.slices:  # only a result that came after the job was closed
            agent.journal.closed(job)
            continue
        held = agent.held[job] = agent.new_job(job, record.head)
        held.cancelled = str(record.notes.get("cancelled", ""))
        held.known = dict(record.done)
        steps = _steps(record)
        if not rebooted:
            held.attempts = _again(record, steps)
        lost = _handed(record) - record.done.keys() if rebooted else record.in_flight.keys() - held.attempts.keys()
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


def _handed(record: JobRecord) -> set[int]:
    return {step for piece in record.slices for step in range(piece.first, piece.last + 1)}


def _lose(agent: Agent, held: Held, step: int, attempt: int, reason: str) -> Row:
    now = round(time.time(), 6)
    row: Row = [step, chr(st.LOST), None, None, now, 0.0, 0, attempt, reason, 0, 0, 0, None]
    agent.journal.result(held.job, step, row, b"")
    return row


def _requeue(held: Held, record: JobRecord) -> None:
    """Give the job all its steps again, those that have ended too: their values are made anew in their order."""
    chunks = {}
    for piece in record.slices:
        body = piece.chunk()
        if body:
            chunks[piece.first // CHUNK] = body
    for piece in sorted(record.slices, key=lambda piece: piece.first):
        held.add(piece.first // CHUNK, chunks.pop(piece.first // CHUNK, b""), [(piece.first, piece.last)])

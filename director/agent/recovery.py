"""What a client that starts again makes of its journal: what goes on, what is lost, what ran and must be ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from director import states as st
from director.agent.core import Agent
from director.agent.holding import Held, Row
from director.journal.records import JobRecord

log = logging.getLogger(__name__)

CHUNK = 256
DIED = "the client or its host died while it ran; its outcome is unknown"
WENT_DOWN = "the host went down after it was handed over; its outcome is unknown"


def take_up(agent: Agent, records: Mapping[str, JobRecord], rebooted: bool) -> None:
    """Hold again what the journal holds; nothing starts before the server has settled.

    Args:
        rebooted: the host went down in between: what was handed over and is not known to have ended is lost,
            as its effects, and the journal's last lines, may not have reached the disk.
    """
    for job, record in list(records.items()):
        if not record.slices:  # only a result that came after the job was closed
            agent.journal.closed(job)
            continue
        held = agent.held[job] = agent.new_job(job, record.head)
        held.cancelled = str(record.notes.get("cancelled", ""))
        held.known = dict(record.done)
        lost = _handed(record) - record.done.keys() if rebooted else set(record.in_flight)
        for step in sorted(lost, reverse=True):  # the last first, as the server skips what is behind a lost step
            row = _lose(agent, held, step, record.started.get(step, 1), WENT_DOWN if rebooted else DIED)
            held.known[step] = row
        held.dead = bool(held.cancelled or (rebooted and lost))
        if held.dead:
            held.upto = max(piece.last + 1 for piece in record.slices)
        else:
            _requeue(held, record)
    if records:
        log.info("took up %d jobs from the journal", len(records))


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

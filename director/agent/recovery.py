"""What a client that starts again makes of its journal: what goes on, what is lost, what ran and must be ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from director import states as st
from director.agent.core import Agent
from director.agent.holding import Held, Row, stops
from director.journal.records import JobRecord

log = logging.getLogger(__name__)

CHUNK = 256


def take_up(agent: Agent, records: Mapping[str, JobRecord], rebooted: bool) -> None:
    """Hold again what the journal holds; nothing starts before the server has settled.

    Args:
        rebooted: the host went down in between: what was handed over and is not known to have ended is lost,
            as its effects, and the journal's last lines, may not have reached the disk.
    """
    for job, record in list(records.items()):
        held = agent.held[job] = agent.new_job(job, record.head)
        held.cancelled = str(record.notes.get("cancelled", ""))
        steps = _steps(record)
        for step in sorted(record.done):
            _replay(held, record.done[step], steps.get(step, {"flags": {}}))
        for step, attempt in record.in_flight.items():
            _lose(agent, held, step, attempt, "the client or its host died while it ran; its outcome is unknown")
        held.upto = max((piece.last + 1 for piece in record.slices), default=0)
        if rebooted and not held.dead:
            _lose_rest(agent, held)
        if held.cancelled:
            held.dead = True
        if not held.dead:
            _requeue(held, record)
    if records:
        log.info("took up %d jobs from the journal", len(records))


def _steps(record: JobRecord) -> dict[int, dict[str, object]]:
    """Step to its text, for all that was handed over."""
    import ujson

    steps: dict[int, dict[str, object]] = {}
    for piece in record.slices:
        chunk = piece.chunk()
        if chunk:
            steps.update((step["i"], step) for step in ujson.loads(chunk))
    return steps


def _replay(held: Held, row: Row, step: Mapping[str, object]) -> None:
    held.done.add(row[0])
    if row[12]:
        held.scope.apply(row[12])
    held.dead = held.dead or stops(ord(row[1]), dict(step))


def _lose(agent: Agent, held: Held, step: int, attempt: int, reason: str) -> None:
    now = round(time.time(), 6)
    row: Row = [step, chr(st.LOST), None, None, now, 0.0, 0, attempt, reason, 0, 0, 0, None]
    agent.journal.result(held.job, step, row, b"")
    held.done.add(step)
    held.dead = True


def _lose_rest(agent: Agent, held: Held) -> None:
    for step in range(held.upto):
        if step not in held.done:
            _lose(agent, held, step, 1, "the host went down after it was handed over; its outcome is unknown")
            return


def _requeue(held: Held, record: JobRecord) -> None:
    upto = held.upto
    held.upto = 0
    chunks = {}
    for piece in record.slices:
        body = piece.chunk()
        if body:
            chunks[piece.first // CHUNK] = body
    for piece in record.slices:
        held.add(piece.first // CHUNK, chunks.pop(piece.first // CHUNK, b""), [(piece.first, piece.last)])
    held.upto = upto

"""What the operator sees of nodes and of open jobs: plain data in the contract's shapes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import ujson

from director import states as st
from director.runtime.logs import stamp
from director.scheduler.job_state import JobRun
from director.server.enrolment import Enrolment
from director.server.roster import NodeRecord, Roster
from director.server.scheduler import Scheduler

WAITING_SHOWN = 100


def node_row(record: NodeRecord) -> dict[str, Any]:
    """One node as `--list-nodes` shows it."""
    now = time.time()
    seen = record.seen(now, time.monotonic())
    return {
        "id": record.name,
        "state": record.state,
        "address": record.address or None,
        "version": record.version or None,
        "labels": record.labels,
        "last_seen": stamp(seen) if seen else None,
        "agent_uptime": _since(record.agent_start, now) if record.online else None,
        "host_uptime": _since(record.host_start, now) if record.online else None,
        "key": record.key,
        "reason": record.trouble or record.reason or None,
    }


def pending_rows(enrolment: Enrolment) -> list[dict[str, Any]]:
    """Newcomers that were refused, as nodes in state `pending`."""
    return [
        {
            "id": p.name, "state": "pending", "address": p.address, "version": None, "labels": {},
            "last_seen": stamp(time.time() - (time.monotonic() - p.at)), "agent_uptime": None, "host_uptime": None,
            "key": p.key, "reason": p.reason,
        }
        for p in enrolment.pending.values()
    ]  # fmt: skip


def node_detail(record: NodeRecord) -> dict[str, Any]:
    """One node as `--node-info` shows it: the row, facts and remembered ARGs, the loop's lag."""
    return {**node_row(record), "lag": record.lag, "facts": ujson.loads(record.facts), "args": record.args}


def live(runs: Mapping[str, JobRun], detailed: str = "") -> dict[str, Any]:
    """What the ledger's reader must know of open jobs; of job `detailed` also every node's letters."""
    view: dict[str, Any] = {}
    for run in runs.values():
        view[run.id] = {"state": run.state, "tasks": run.tasks(), "started_at": run.started_at}
    if detailed in runs:
        run = runs[detailed]
        view[detailed]["nodes"] = {name: node.states.decode() for name, node in run.nodes.items()}
        view[detailed]["running"] = {name: node.started for name, node in run.nodes.items() if node.started}
    return view


def progress(runs: Iterable[JobRun]) -> list[dict[str, Any]]:
    """A line for each open job that somebody waits for."""
    return [{"id": run.id, "state": run.state, "tasks": run.tasks()} for run in runs]


def waiting(runs: Iterable[JobRun], roster: Roster, desk: Scheduler, lost_after: float) -> list[dict[str, Any]]:
    """The nodes that open jobs wait for, why and until when; the first hundred."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        for node in run.nodes.values():
            if node.open:
                rows.append(_waiting_row(run, node, roster.nodes.get(node.node), desk, lost_after))
                if len(rows) >= WAITING_SHOWN:
                    return rows
    return rows


def _waiting_row(
    run: JobRun, node: Any, record: NodeRecord | None, desk: Scheduler, lost_after: float
) -> dict[str, Any]:
    now, mono = time.time(), time.monotonic()
    row: dict[str, Any] = {
        "job": run.id,
        "node": node.node,
        "since": None,
        "until": None,
        "step": node.first_open(),
    }
    if record is None:
        return {**row, "why": "forgotten"}
    silence = mono - (record.heard or record.offline_since or mono)
    if not record.online:
        held = node.handed > 0
        left = lost_after - silence if held else run.valid_for - (mono - max(record.offline_since, run.since))
        why = "silent" if held else "offline"
        return {**row, "why": why, "since": stamp(now - silence), "until": stamp(now + max(0.0, left))}
    if record.trouble:
        return {**row, "why": record.trouble, "stuck": True}
    if silence > 5:
        row["since"] = stamp(now - silence)
    if node.started:
        step, at = next(iter(node.started.items()))
        limit = run.time_limit(step)
        return {
            **row,
            "why": "running",
            "step": step,
            "since": stamp(at),
            "until": stamp(at + limit) if limit else None,
        }
    if awaited := desk.onces.why(run.id, row["step"]):
        return {**row, "why": awaited}
    return {**row, "why": "queued" if not node.states.count(st.SENT) else "sent"}


def _since(start: float | None, now: float) -> float | None:
    return None if start is None else round(max(0.0, now - start), 3)

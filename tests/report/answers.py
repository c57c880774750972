"""Answers of the server, as in the contract."""

from __future__ import annotations

from typing import Any

ID = "c0ffee0000000001"
COUNTS = (
    *("total", "queued", "sent", "running", "success", "cached", "failed", "timeout"),
    *("cancelled", "expired", "lost", "skipped"),
)


def task(node: str, state: str = "success", **more: Any) -> dict[str, Any]:
    """One task, well and silent unless told otherwise."""
    return {
        "node": node,
        "state": state,
        "exit_code": 0,
        "stdout": "",
        "stderr": "",
        "truncated": 0,
        "reason": "",
        "started_at": "2031-05-04T10:00:00.100Z",
        "finished_at": "2031-05-04T10:00:01.100Z",
        "execution_time": 1.0,
        "roundtrip_time": 1.1,
        "attempt": 1,
        "late": None,
        **more,
    }


def job(*steps: tuple[str, list[dict[str, Any]]], **more: Any) -> dict[str, Any]:
    """A job of `(text, tasks)` steps."""
    counts = dict.fromkeys(COUNTS, 0)
    for _, tasks in steps:
        for each in tasks:
            counts[each["state"]] += 1
            counts["total"] += 1
    return {
        "id": ID,
        "name": "exec",
        "kind": "exec",
        "state": "failed" if counts["failed"] else "success",
        "final": True,
        "step_count": len(steps),
        "node_count": max((len(tasks) for _, tasks in steps), default=0),
        "tasks": counts,
        "created_at": "2031-05-04T10:00:00.000Z",
        "started_at": None,
        "finished_at": None,
        "duration": 65.25,
        "submitted_by": "root",
        "steps": [
            {"index": index, "verb": text.split()[0], "text": text, "stage": 0, "tasks": tasks}
            for index, (text, tasks) in enumerate(steps)
        ],
        **more,
    }


def node(**more: Any) -> dict[str, Any]:
    """One node online."""
    return {
        "id": "web-01",
        "state": "online",
        "address": "10.0.0.1",
        "version": "0.1.0",
        "labels": {"tier": "web", "a": "1"},
        "last_seen": "2031-05-04T10:00:00.000Z",
        "agent_uptime": 5.0,
        "host_uptime": 90_000.0,
        "key": "k",
        "reason": "",
        **more,
    }

"""Builders of small operations, so that a test says only what it is about."""

from __future__ import annotations

from typing import Any

import ujson

from director.stores.contract import Store

T0 = 1_790_000_000.0
CHUNK = 256  # steps


def steps(count: int) -> list[dict[str, Any]]:
    return [{"i": i, "verb": "RUN", "text": f"RUN echo {i}", "stage": 0, "line": i + 1} for i in range(count)]


def accept(
    job: str,
    nodes: tuple[str, ...] = ("a", "b"),
    count: int = 3,
    digest: str = "d",
    at: float = T0,
    **more: Any,
) -> tuple[str, dict[str, Any], list[bytes]]:
    block = {"first": 0, "last": count - 1, "stage": 0, "lane": 0, "group": 0, "barrier": False, "nodes": None}
    meta = {
        "blocks": [block], "stages": [{"name": "", "nodes": list(nodes), "unmatched": []}], "notes": [],
        "chunks": [{"first": first, "contents": {}} for first in range(0, count, CHUNK)],
    }  # fmt: skip
    fields = {
        "id": job, "name": "exec", "kind": "exec", "created_at": at, "submitted_by": "root",
        "step_count": count,
        "node_count": len(nodes), "task_count": count * len(nodes), "digest": digest,
        "options": {"timeout": 600.0}, "meta": meta, "nodes": list(nodes), **more,
    }  # fmt: skip
    listed = steps(count)
    return "accept", fields, [ujson.dumps(listed[at : at + CHUNK]).encode() for at in range(0, count, CHUNK)]


SEAL = "seal", {"job": "j1", "names": ["db"], "nodes": ["a"]}, [b"the encrypted secret", b"the box of node a"]


def result(step: int, state: str = "S", out: bytes = b"", err: bytes = b"", **more: Any) -> dict[str, Any]:
    return {
        "step": step, "state": state, "exit_code": 0, "started_at": T0 + 1, "finished_at": T0 + 1.5,
        "execution_time": 0.25, "roundtrip_time": 0.5, "attempt": 1, "reason": "", "truncated": 0,
        "stdout_size": len(out), "stderr_size": len(err), "effects": None, "body": out + err, **more,
    }  # fmt: skip


def results(job: str, node: str, *given: dict[str, Any], late: bool = False) -> tuple[str, dict[str, Any], bytes]:
    listed = [[value for name, value in one.items() if name != "body"] for one in given]
    body = b"".join(one["body"] for one in given)
    return "late_results" if late else "results", {"job": job, "node": node, "results": listed}, body


def range_end(job: str, node: str, first: int, last: int, state: str = "L", reason: str = "silent") -> tuple[str, Any]:
    return "range_ends", {"job": job, "items": [[node, first, last, state, reason, T0 + 9]]}


def done(job: str, state: str = "success", **more: Any) -> tuple[str, dict[str, Any]]:
    return "job", {"id": job, "state": state, "started_at": T0 + 1, "finished_at": T0 + 3, **more}


def whole(store: Store, job: str, live: Any = None) -> bytes:
    """The object of `--job-info`."""
    return b"".join(store.job_info(job, live or {}))

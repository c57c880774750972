"""Small plans, the jobs made of them, and what tests do to these jobs."""

from __future__ import annotations

from typing import Any

from director.scheduler import ends
from director.scheduler.build import new_run
from director.scheduler.job_state import JobRun, RangeEnd
from director.scheduler.windows import StepRange, next_ranges


def block(first: int, last: int, stage: int = 0, **more: Any) -> dict[str, Any]:
    row = {"first": first, "last": last, "stage": stage, "lane": 0, "group": 0, "barrier": False, "nodes": None}
    return {**row, **more}


def meta(blocks: list[dict[str, Any]], stages: list[list[str]], **more: Any) -> dict[str, Any]:
    named = [{"name": "", "nodes": nodes} for nodes in stages]
    steps, chunks = blocks[-1]["last"] + 1, [{"first": row["first"], "contents": {}} for row in blocks]
    return {"step_count": steps, "stages": named, "blocks": blocks, "chunks": chunks, **more}


def build(blocks: list[dict[str, Any]], stages: list[list[str]], waived: tuple[str, ...] = (), **more: Any) -> JobRun:
    return new_run("j", meta(blocks, stages, **more), waived)


def hand_all(run: JobRun, name: str) -> list[StepRange]:
    """Give the node what it may have."""
    node = run.nodes[name]
    ranges = next_ranges(run, node)
    if ranges:
        run.hand_out(node, ranges[-1].last + 1)
    return ranges


def end(run: JobRun, name: str, step: int, letter: str = "S") -> list[RangeEnd] | None:
    return ends.end(run, run.nodes[name], step, ord(letter), "why")


def seen(run: JobRun) -> dict[str, str]:
    return {name: node.states.decode() for name, node in run.nodes.items()}

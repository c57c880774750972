"""Makes the state of a job: a new one from its plan, or an open one from what the ledger holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from director import states as st
from director.scheduler import choice
from director.scheduler.job_state import JobRun

PAUSE_EVERY = 1000  # nodes between two pauses


def new_run(
    job: str, meta: Mapping[str, Any], offline: Iterable[str], pause: Callable[[], object] = lambda: None
) -> JobRun:
    """A job with every task queued.

    Args:
        meta: of the plan; the run keeps it and changes it when it chooses nodes.
        offline: nodes that barriers do not wait for.
        pause: called now and then, as many nodes take long.
    """
    run = JobRun(job, meta)
    waived = frozenset(offline)
    for index, block in enumerate(run.blocks):
        if block.choose is not None:
            choice.postpone(run, index, waived)
            continue
        if block.once:
            run.barriers.add_run_once(block)
        names = meta["stages"][block.stage]["nodes"] if block.nodes is None else block.nodes
        for number, name in enumerate(names, 1):
            run.add_tasks(run.node(name, name in waived), block)
            if number % PAUSE_EVERY == 0:
                pause()
    run.barriers.open()
    if not meta.get("after"):  # a job that waits for another one chooses when it starts
        choice.choose(run, lambda name: name not in waived)
    return run


def restore(run: JobRun, nodes: Mapping[str, Mapping[str, Any]], cancelled: str = "") -> None:
    """Bring a new run to what the ledger holds.

    Args:
        nodes: name to `{"cursor": int, "results": [(step, letter)], "range_ends": [(first, last, letter)]}`.
        cancelled: the reason of a cancel that was ordered before, "" for none.
    """
    run.cancelled = cancelled
    for name, record in nodes.items():
        node = run.nodes.get(name)
        if node is None:
            continue
        if record["cursor"]:
            run.hand_out(node, record["cursor"])
        for step, letter in record["results"]:
            run.end(node, step, ord(letter))
        for first, last, letter in record["range_ends"]:
            run.end_range(node, first, last, ord(letter), "")
    run.barriers.open()


def mark_cached(run: JobRun, succeeded: Mapping[str, str]) -> None:
    """Mark as cached what succeeded in the job that `run` resumes: node to a text with `1` for each such step."""
    for name, flags in succeeded.items():
        node = run.nodes.get(name)
        for found in re.finditer("1+", flags) if node else ():
            run.end_range(run.nodes[name], found.start(), found.end() - 1, st.CACHED, "")
    run.barriers.open()

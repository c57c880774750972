"""How tasks end, and what else ends with them: each function changes the job and returns the ends that follow."""

from __future__ import annotations

from director import states as st
from director.scheduler.job_state import JobRun, RangeEnd
from director.scheduler.node_run import HANDED, WAITING, NodeRun

STOPPING = st.BAD | {st.CANCELLED}  # states of a task after which the node runs no more of the job, or of the lane


def end(run: JobRun, node: NodeRun, step: int, state: int, reason: str = "") -> list[RangeEnd] | None:
    """A task ended by itself; None when it was final already."""
    if not run.end(node, step, state):
        return None
    if state not in STOPPING or run.is_ignored(step, state):
        return []
    last = run.blocks.lane_end(step)
    if state == st.CANCELLED:
        return run.end_range(node, step + 1, last, st.CANCELLED, reason)
    why = _describe(step, state, reason)
    ends = run.end_range(node, step + 1, last, st.SKIPPED, why)
    failed = [step] if step in run.meta.get("once", ()) else _run_once(run, node, st.SKIPPED, step + 1, last)
    return ends + _skip_elsewhere(run, node, failed, why)


def cancel(run: JobRun, reason: str) -> list[RangeEnd]:
    """Cancel what no node holds; what nodes hold ends when they report it."""
    run.cancelled = reason
    return [found for node in run.nodes.values() for found in cancel_waiting(run, node)]


def cancel_waiting(run: JobRun, node: NodeRun) -> list[RangeEnd]:
    """Cancel what `node` does not hold of a cancelled job."""
    return run.end_range(node, node.cursor, run.steps - 1, st.CANCELLED, run.cancelled, WAITING)


def expire(run: JobRun, node: NodeRun, reason: str) -> list[RangeEnd]:
    """What was never handed to `node` has waited too long."""
    ends = run.end_range(node, node.cursor, run.steps - 1, st.EXPIRED, reason, WAITING)
    return ends + _skip_behind(run, node, st.EXPIRED, reason) if ends else []


def lose(run: JobRun, node: NodeRun, reason: str) -> list[RangeEnd]:
    """What `node` holds is lost, and the rest of the job there is skipped; nothing ends when it holds nothing."""
    return give_up(run, node, reason) if node.handed else []


def give_up(run: JobRun, node: NodeRun, reason: str) -> list[RangeEnd]:
    """`node` runs nothing more of this job: what it holds is lost, everything else there is skipped."""
    why = f"a step before it was lost: {reason}"
    ends = run.end_range(node, 0, node.cursor - 1, st.LOST, reason, HANDED)
    ends += run.end_range(node, node.cursor, run.steps - 1, st.SKIPPED, why)
    node.epoch += 1
    ends += _skip_behind(run, node, st.LOST, reason)
    return ends + _skip_elsewhere(run, node, _run_once(run, node, st.SKIPPED, 0, run.steps - 1), why)


def refuse(run: JobRun, node: NodeRun, reason: str) -> list[RangeEnd]:
    """`node` cannot be handed its next steps: the first of them fails, and the rest of the job there is skipped."""
    step = node.states.find(st.QUEUED, node.cursor)
    if step < 0:
        return []
    ends = run.end_range(node, step, step, st.FAILED, reason)
    ends += run.end_range(node, step + 1, run.steps - 1, st.SKIPPED, _describe(step, st.FAILED, reason), WAITING)
    return ends + _skip_behind(run, node, st.FAILED, reason) + _skip_behind(run, node, st.SKIPPED, reason)


def abandon(run: JobRun, node: NodeRun, reason: str) -> list[RangeEnd]:
    """`node` is gone for good: nothing of this job stays open there."""
    return lose(run, node, reason) + expire(run, node, reason)


def _skip_behind(run: JobRun, node: NodeRun, state: int, reason: str) -> list[RangeEnd]:
    """Skip on other nodes what follows the run-once steps that ended in `state` on `node`."""
    ends: list[RangeEnd] = []
    for step in _run_once(run, node, state, 0, run.steps - 1):
        ends += _skip_elsewhere(run, node, [step], _describe(step, state, reason))
    return ends


def _skip_elsewhere(run: JobRun, node: NodeRun, steps: list[int], why: str) -> list[RangeEnd]:
    """Run-once steps did not succeed on `node`: the other nodes skip what follows, in the same lane or in the job.

    They may hold these steps already, but have begun none: they wait there until the server reports a success.
    """
    ends: list[RangeEnd] = []
    why = f"on {node.node}, {why}"
    for step in steps:
        last = run.blocks.lane_end(step)
        for other in run.nodes.values():
            if other is not node:
                ends += run.end_range(other, step + 1, last, st.SKIPPED, why)
    return ends


def _run_once(run: JobRun, node: NodeRun, state: int, first: int, last: int) -> list[int]:
    """The run-once steps from `first` to `last` that ended in `state` on `node`."""
    return [step for step in run.meta.get("once", ()) if first <= step <= last and node.states[step] == state]


def _describe(step: int, state: int, reason: str) -> str:
    return f"step {step + 1} {st.NAMES[state]}" + (f": {reason}" if reason else "")

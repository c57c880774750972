"""Run-once steps: which node runs one for all, chosen when its stage starts."""

from __future__ import annotations

from collections.abc import Callable, Collection

from director import states as st
from director.scheduler.blocks import Block
from director.scheduler.job_state import JobRun
from director.scheduler.node_run import NodeRun


def postpone(run: JobRun, index: int, offline: Collection[str]) -> None:
    """Leave the block without a node until its stage starts; the candidates belong to the job already."""
    block, row = run.blocks[index], run.meta["blocks"][index]
    stage = frozenset(run.meta["stages"][block.stage]["nodes"])
    candidates = [name for name in block.choose or () if name in stage]
    row.update(nodes=[], choose=candidates)
    run.blocks[index] = Block(**row)
    run.barriers.keep_closed(index, block)
    for name in candidates:
        run.node(name, name in offline)


def choose(run: JobRun, online: Callable[[str], object], every: bool = False) -> list[NodeRun]:
    """Choose the node of each run-once step whose stage has started, or of `every` one; the nodes that got tasks.

    It is the first candidate that is online, else the first one; a node that has failed is no candidate.
    `run.meta` has the choice afterwards and must be stored.
    """
    chosen: list[NodeRun] = []
    while (index := _next_choice(run, every)) is not None:
        block, row = run.blocks[index], run.meta["blocks"][index]
        left = (name for name in block.choose or () if not _has_failed(run, run.nodes[name], block))
        first = next(left, None)
        name = first if first is None or online(first) else next(filter(online, left), first)
        row.update(nodes=[] if name is None else [name], once=True)
        del row["choose"], run.barriers.unchosen[index]
        block = run.blocks[index] = Block(**row)
        if name is not None:
            run.add_tasks(run.nodes[name], block)
            chosen.append(run.nodes[name])
        run.barriers.open()
    return chosen


def awaited(run: JobRun, step: int) -> list[tuple[NodeRun, int]]:
    """The run-once steps before `step` in its stage, the last first, each with the node that runs it."""
    start = run.blocks.stage_start(run.blocks.at(step).stage)
    before = [once for once in run.meta.get("once", ()) if start <= once < step]
    return [(run.nodes[name], once) for once in reversed(before) for name in run.blocks.at(once).nodes or ()]


def _next_choice(run: JobRun, every: bool) -> int | None:
    for index in run.barriers.unchosen:
        if every or run.blocks.stage_start(run.blocks[index].stage) < run.barriers.limit:
            return index
    return None


def _has_failed(run: JobRun, node: NodeRun, block: Block) -> bool:
    """Whether the node has a failure that counts for the block: in a step without a lane, or in its own lane."""
    for other in run.blocks:
        if other.lane and other.stage != block.stage:
            continue
        states = node.states[other.first : other.last + 1]
        for letter in st.FINAL - st.GOOD:
            if letter in states and not all(
                run.is_ignored(step, letter) for step, state in enumerate(states, other.first) if state == letter
            ):
                return True
    return False

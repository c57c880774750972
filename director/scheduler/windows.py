"""How many tasks a node may hold, and which steps of a job it gets next."""

from __future__ import annotations

from director import states as st
from director.scheduler.chunks import StepRange
from director.scheduler.job_state import JobRun
from director.scheduler.node_run import Load, NodeRun

WINDOW = 512  # tasks of one job that a node holds at most
NODE_LIMIT = 4096  # tasks of all jobs that a node holds; beyond it a job waits for room
NODE_MOST = 2 * NODE_LIMIT  # the same, with the first tasks of further jobs
LEAST = 16  # tasks of one job that a node may hold, however many jobs it has
FIRST = 8  # tasks of a job that has none on the node yet, though other jobs fill it


def share(jobs: int) -> int:
    """How many tasks of one job a node with so many open jobs may hold."""
    return max(LEAST, min(WINDOW, NODE_LIMIT // max(1, jobs)))


def room_for(node: NodeRun, jobs: int) -> int:
    """How many more tasks of this job the node may get; it has `jobs` open jobs. Negative when it has too many."""
    load = node.load.handed
    room = min(share(jobs) - node.handed, NODE_LIMIT - load)
    return room if node.handed else max(room, min(FIRST, NODE_MOST - load))


def has_room(run: JobRun, node: NodeRun, jobs: int) -> bool:
    """Whether more steps of the job are worth a message: half of the node's share is free."""
    return node.cursor < run.barriers.limit and node.handed <= share(jobs) // 2


def starve(load: Load, job: str) -> None:
    """The job found no room on the node: note it if other jobs fill the node."""
    if load.handed >= NODE_LIMIT:
        load.starved = load.starved or {}
        load.starved[job] = None


def feed(load: Load) -> list[str]:
    """The starved jobs for which the node has room again, which are noted no more."""
    if not load.starved or load.handed > NODE_LIMIT - LEAST:
        return []
    jobs = list(load.starved)[: (NODE_LIMIT - load.handed) // LEAST]
    for job in jobs:
        del load.starved[job]
    return jobs


def next_ranges(run: JobRun, node: NodeRun, room: int = WINDOW) -> list[StepRange]:
    """What `node` may get now, at most `room` tasks; nothing is changed."""
    ranges: list[StepRange] = []
    if run.blocked or run.cancelled:
        return ranges
    room = min(room, WINDOW - node.handed)
    for index in range(run.blocks.index_at(node.cursor), len(run.blocks)):
        block = run.blocks[index]
        if block.first >= run.barriers.limit:
            break
        first = max(block.first, node.cursor)
        while room > 0 and (first := node.states.find(st.QUEUED, first, block.last + 1)) >= 0:
            end = first + 1
            most = min(block.last + 1, first + room, run.chunks.end(first))
            while end < most and node.states[end] == st.QUEUED:
                end += 1
            ranges.append(StepRange(first, end - 1))
            room -= end - first
            first = end
    return ranges

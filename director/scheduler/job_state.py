"""The state of a job that is not final: its tasks by node, their counts, and the changes that a task can make.

Steps are handed to a node in order, so all below a node's cursor were sent to it or ended, and none from it on were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from director import states as st
from director.scheduler.blocks import Barriers, Block, Blocks
from director.scheduler.chunks import Chunks
from director.scheduler.node_run import HANDED, OPEN, WAITING, NodeRun

SENT = bytes((st.SENT,))


class RangeEnd(NamedTuple):
    """Tasks of `node` from step `first` to `last` that ended together, without a result each."""

    node: str
    first: int
    last: int
    state: int
    reason: str


@dataclass(slots=True)
class JobRun:
    """One job that is not final; `build.new_run` makes it.

    Attributes:
        meta: the plan's meta (stages, blocks, chunks, ignored, once …), as stored; a choice changes its blocks.
        valid_for: seconds a task may wait for its node.
        timeout: seconds a task may run, unless its step has a limit of its own; 0: not known.
        since: monotonic time at which it was accepted.
        cancelled: the reason of the cancel, "" when none was ordered.
        blocked: it waits for the job before it.
        counts: tasks by state letter.
        total: tasks, open or not.
        ignored: steps whose failure counts for nothing.
        seeded: nodes that get the values that the job resumed by this one had set there.
    """

    id: str
    meta: Mapping[str, Any]
    valid_for: float = 0.0
    timeout: float = 0.0
    since: float = 0.0
    state: str = st.JOB_QUEUED
    started_at: float | None = None
    cancelled: str = ""
    blocked: bool = False
    nodes: dict[str, NodeRun] = field(default_factory=dict)
    counts: list[int] = field(default_factory=lambda: [0] * 256)
    ignored_failures: int = 0
    total: int = 0
    steps: int = field(init=False)
    blocks: Blocks = field(init=False)
    barriers: Barriers = field(init=False)
    chunks: Chunks = field(init=False)
    ignored: frozenset[int] = field(init=False)
    seeded: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.steps = self.meta["step_count"]
        self.blocks = Blocks.from_meta(self.meta)
        self.barriers = Barriers(self.blocks, self.steps)
        self.chunks = Chunks(self.meta["chunks"], self.steps)
        self.ignored = frozenset(self.meta.get("ignored", ()))
        self.seeded = frozenset(self.meta.get("seeded", ()))

    def node(self, name: str, waived: bool) -> NodeRun:
        """The job on this node, made when the node is new to it."""
        node = self.nodes.get(name)
        if node is None:
            node = self.nodes[name] = NodeRun(name, bytearray(b"-") * self.steps, waived)
        return node

    def add_tasks(self, node: NodeRun, block: Block) -> None:
        """Queue the steps of the block for the node."""
        width = block.last - block.first + 1
        node.states[block.first : block.last + 1] = WAITING * width
        node.open += width
        self.total += width
        self.counts[st.QUEUED] += width
        self.barriers.add(node, block)

    # -- reading ------------------------------------------------------------------------------------------

    @property
    def open(self) -> int:
        """Tasks that are not final."""
        return sum(self.counts[letter] for letter in OPEN)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return not self.open and not self.barriers.unchosen

    def tasks(self) -> dict[str, int]:
        """The contract's `tasks` object."""
        counts = {"total": self.total}
        counts.update((name, self.counts[letter]) for letter, name in st.NAMES.items())
        return counts

    def verdict(self) -> str:
        """The final state of the job; call it when nothing is open."""
        bad = sum(self.counts[letter] for letter in st.BAD) - self.ignored_failures
        return st.job_verdict(bad > 0, self.counts[st.CANCELLED] > 0, self.counts[st.EXPIRED] > 0)

    def time_limit(self, step: int) -> float:
        """Seconds that the step may run; 0 when it has several attempts or no known limit."""
        return float(self.meta.get("timeouts", {}).get(str(step), self.timeout))

    def passed(self, node: NodeRun, step: int) -> bool:
        """Whether the node has ended all its tasks before `step`; other lanes of the step's group do not count."""
        ranges = self.blocks.ranges_before(step)
        return all(node.states.find(letter, first, end) < 0 for letter in OPEN for first, end in ranges)

    def is_ignored(self, step: int, state: int) -> bool:
        """Whether a failure of the step counts for nothing; a lost task always counts, as its effects are unknown."""
        return step in self.ignored and state in st.IGNORABLE

    def went_well(self, node: NodeRun, step: int) -> bool:
        """Whether the task succeeded, or failed with a failure that is ignored."""
        return node.states[step] in st.GOOD or self.is_ignored(step, node.states[step])

    # -- changing -----------------------------------------------------------------------------------------

    def hand_out(self, node: NodeRun, cursor: int) -> None:
        """The steps below `cursor` are on their way to the node: queued ones become sent."""
        handed = node.states[node.cursor : cursor]
        moved = handed.count(st.QUEUED)
        node.states[node.cursor : cursor] = handed.replace(WAITING, SENT)
        node.cursor = max(node.cursor, cursor)
        self._count(node, st.QUEUED, st.SENT, moved)
        if moved and self.state == st.JOB_QUEUED:
            self.state = st.JOB_RUNNING

    def take_back(self, node: NodeRun, cursor: int) -> int:
        """The node never got the steps from `cursor` on: sent ones are queued again; how many."""
        cursor = min(cursor, node.cursor)
        handed = node.states[cursor : node.cursor]
        moved = handed.count(st.SENT)
        node.states[cursor : node.cursor] = handed.replace(SENT, WAITING)
        node.cursor = cursor
        node.chunk = -1
        node.epoch += 1
        self._count(node, st.SENT, st.QUEUED, moved)
        return moved

    def begin(self, node: NodeRun, step: int, at: float) -> bool:
        """The node has started the step at epoch second `at`; False, and no change, when it cannot have."""
        if not 0 <= step < node.cursor or not st.may_become(node.states[step], st.RUNNING):
            return False
        self._move(node, step, st.RUNNING)
        node.started[step] = at
        return True

    def end(self, node: NodeRun, step: int, state: int) -> bool:
        """End one task and nothing else; False when it was final already or does not exist."""
        if not 0 <= step < self.steps or state not in st.FINAL or node.states[step] not in st.OPEN:
            return False
        self._move(node, step, state)
        node.started.pop(step, None)
        node.open -= 1
        self.barriers.end(node, step)
        if state in st.IGNORABLE and step in self.ignored:
            self.ignored_failures += 1
        return True

    def end_range(
        self, node: NodeRun, first: int, last: int, state: int, reason: str, only: bytes = OPEN
    ) -> list[RangeEnd]:
        """End every task of `node` from `first` to `last` that is in a state of `only`."""
        first, last = max(first, 0), min(last, self.steps - 1)
        states = node.states[first : max(first, last + 1)]
        ended = {letter: number for letter in only if (number := states.count(letter))}
        if not ended:
            return []
        self.barriers.end_range(node, first, last, only)
        for letter, number in ended.items():
            self._count(node, letter, state, number)
            node.open -= number
        node.states[first : last + 1] = states.translate(bytes.maketrans(only, bytes((state,)) * len(only)))
        for step in [step for step in node.started if node.states[step] in st.FINAL]:
            del node.started[step]
        return [RangeEnd(node.node, low, high, state, reason) for low, high in self._without_unchosen(first, last)]

    def _move(self, node: NodeRun, step: int, state: int) -> None:
        self._count(node, node.states[step], state, 1)
        node.states[step] = state

    def _count(self, node: NodeRun, before: int, after: int, number: int) -> None:
        """So many tasks of the node change their state."""
        self.counts[before] -= number
        self.counts[after] += number
        node.count(number * ((after in HANDED) - (before in HANDED)))

    def _without_unchosen(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The range without run-once steps whose node is not chosen: it may be this node, with another end there."""
        for block in [self.blocks[index] for index in self.barriers.unchosen]:
            if block.first <= last and first <= block.last:
                if first < block.first:
                    yield first, block.first - 1
                first = block.last + 1
        if first <= last:
            yield first, last

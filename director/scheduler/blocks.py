"""What waits for what in a job: its blocks, which are steps without a barrier between them, and its barriers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from director.scheduler.node_run import WAITING, NodeRun


@dataclass(frozen=True, slots=True)
class Block:
    """Steps `first` to `last` of a stage, as a plan's meta describes them.

    Attributes:
        barrier: whether a barrier stands before it.
        nodes: that run it, None for all nodes of the stage.
        once: whether it is a run-once step whose node the server chooses.
        choose: the candidates, until one is chosen.
    """

    first: int
    last: int
    stage: int
    lane: int = 0
    group: int = 0
    barrier: bool = False
    nodes: Sequence[str] | None = None
    once: bool = False
    choose: Sequence[str] | None = None


def reach_of(meta: Mapping[str, Any]) -> set[str]:
    """Every node that a job with this plan runs on, may choose, or takes files or values from."""
    rows = (*meta["stages"], *meta["blocks"])
    found = {name for row in rows for key in ("nodes", "choose") for name in row.get(key) or ()}
    for spec in meta.get("exchange", {}).values():
        found.update(spec.get("others", ()), (spec["from"],) if "from" in spec else ())
    return found


class Blocks(list[Block]):
    """All blocks of a job, in step order."""

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Blocks:
        """The blocks of a plan's meta."""
        return cls(Block(**row) for row in meta["blocks"])

    def index_at(self, step: int) -> int:
        """The index of the block that contains `step`."""
        return max(0, bisect_right(self, step, key=lambda block: block.first) - 1)

    def at(self, step: int) -> Block:
        """The block that contains `step`."""
        return self[self.index_at(step)]

    def stage_start(self, stage: int) -> int:
        """The first step of a stage."""
        return next(block.first for block in self if block.stage == stage)

    def lane_end(self, step: int) -> int:
        """The last step that a failure of `step` affects: of its lane, or of the job when it is in no lane."""
        block = self.at(step)
        return max(other.last for other in self if other.stage == block.stage) if block.lane else self[-1].last

    def ranges_before(self, step: int) -> list[tuple[int, int]]:
        """Half-open ranges of the steps that a node ends before `step`; other lanes of its group do not count."""
        block = self.at(step)
        if not block.lane:
            return [(0, step)]
        group = min(other.first for other in self if other.group == block.group)
        return [(0, group), (min(b.first for b in self if b.stage == block.stage and b.first >= group), step)]


class Barriers:
    """The open tasks of each section, which is the steps between two barriers.

    A barrier opens when every task before it is final. Waived nodes are not awaited, except for run-once steps.

    Attributes:
        limit: first step behind the first closed barrier, or the number of steps.
        unchosen: index of each block whose run-once node is not chosen yet, to its section.
    """

    def __init__(self, blocks: Blocks, steps: int) -> None:
        self.limit = 0
        self.unchosen: dict[int, int] = {}
        self._starts = [0, *(block.first for block in blocks if block.barrier and block.first), steps]
        self._open = [0] * (len(self._starts) - 1)
        self._current = 0
        self._run_once: list[int] = []

    def add(self, node: NodeRun, block: Block) -> None:
        """The node has got the queued tasks of the block."""
        self._open[self._section(block.first)] += self._awaited(node, block.first, block.last, WAITING)

    def add_run_once(self, block: Block) -> None:
        """Every node waits for the tasks of the block, whoever runs them."""
        self._run_once.extend(range(block.first, block.last + 1))

    def keep_closed(self, index: int, block: Block) -> None:
        """The barrier behind the block stays closed until its node is chosen."""
        self.unchosen[index] = self._section(block.first)
        self.add_run_once(block)

    def end(self, node: NodeRun, step: int) -> None:
        """A task became final."""
        if not node.waived or bisect_right(self._run_once, step) > bisect_left(self._run_once, step):
            self._open[bisect_right(self._starts, step) - 1] -= 1

    def end_range(self, node: NodeRun, first: int, last: int, only: bytes) -> None:
        """The node's tasks in states of `only` become final now; call it before their states change."""
        for section in range(self._section(first), self._section(last) + 1):
            low, high = max(first, self._starts[section]), min(last, self._starts[section + 1] - 1)
            self._open[section] -= self._awaited(node, low, high, only)

    def open(self) -> bool:
        """Open every barrier that nothing keeps closed; whether one opened."""
        before = self.limit
        while self._current < len(self._open) and not self._open[self._current]:
            if self._current in self.unchosen.values():
                break
            self._current += 1
        self.limit = self._starts[min(self._current + 1, len(self._open))]
        return self.limit != before

    def _section(self, step: int) -> int:
        return bisect_right(self._starts, step, hi=len(self._open)) - 1

    def _awaited(self, node: NodeRun, first: int, last: int, only: bytes) -> int:
        """Tasks in a state of `only` that barriers wait for."""
        if not node.waived:
            states = node.states[first : last + 1]
            return sum(states.count(letter) for letter in only)
        steps = self._run_once[bisect_left(self._run_once, first) : bisect_right(self._run_once, last)]
        return sum(node.states[step] in only for step in steps)


def nodes_of(meta: Mapping[str, Any], block: Mapping[str, Any]) -> Sequence[str]:
    """The nodes that run a block of a plan's meta."""
    nodes: Sequence[str] | None = block.get("nodes")
    return meta["stages"][block["stage"]]["nodes"] if nodes is None else nodes


def stage_nodes(meta: Mapping[str, Any]) -> list[str]:
    """Every node of a plan once, in the order of its stages."""
    return list(dict.fromkeys(name for stage in meta["stages"] for name in stage["nodes"]))

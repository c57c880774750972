"""The blocks of a job: consecutive steps of one stage that need no barrier between them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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


def nodes_of(meta: Mapping[str, Any], block: Mapping[str, Any]) -> Sequence[str]:
    """The nodes that run a block of a plan's meta."""
    nodes: Sequence[str] | None = block.get("nodes")
    return meta["stages"][block["stage"]]["nodes"] if nodes is None else nodes


def stage_nodes(meta: Mapping[str, Any]) -> list[str]:
    """Every node of a plan once, in the order of its stages."""
    return list(dict.fromkeys(name for stage in meta["stages"] for name in stage["nodes"]))

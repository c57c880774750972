"""The barriers of a job: which one is closed, and how many open tasks keep it closed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from director.scheduler.blocks import Block, Blocks
from director.scheduler.node_run import WAITING, NodeRun


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

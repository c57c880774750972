"""What goes to whom next: the pure core of the server. It decides; others send, store and keep time.

A job on one node is a `NodeRun`: a bytearray with one state letter a step and a cursor up to which steps
were handed over. Steps are handed over in order, so everything below the cursor has been sent (or decided)
and everything from it on has not. A `JobRun` is all its node runs, with the gates between its blocks.

A gate stands before a block that may start only when every task of the blocks before it is final, or
belongs to a node that was offline when the job began (a *waived* node, which nobody waits for).
A run-once step makes no gate: nodes are given what stands behind it, and wait there until they are told how it ended.
Ends that cover many tasks at once (skipped, cancelled, expired, lost) are `RangeEnd`s: a range, not a row each.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from director import states as st
from director.protocol.messages import STEPS_PER_CHUNK

PIECE = 1000  # nodes between two pauses
WINDOW = 512  # tasks of one job that a node holds at most
OPEN = bytes(st.OPEN)
HANDED = bytes((st.SENT, st.RUNNING))
WAITING = bytes((st.QUEUED,))


def _table(sources: bytes, new: int) -> bytes:
    return bytes(new if letter in sources else letter for letter in range(256))


_TABLES = {
    (sources, new): _table(sources, new) for sources in (OPEN, HANDED, WAITING) for new in st.FINAL | {st.QUEUED}
}


@dataclass(frozen=True, slots=True)
class Block:
    """Steps `first`..`last` of a stage that need no barrier between them; `nodes` None means the stage's.

    `choose` are the nodes of a run-once step, of which one is chosen when the stage starts; None once it is.
    """

    first: int
    last: int
    stage: int
    lane: int = 0
    group: int = 0
    gate: bool = False
    nodes: frozenset[str] | None = None
    choose: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class RangeEnd:
    """Tasks of `node` from step `first` to `last` that ended together, without a result each."""

    node: str
    first: int
    last: int
    state: int
    reason: str


@dataclass(frozen=True, slots=True)
class StepRange:
    """Steps `first`..`last` to hand to a node; they lie in one chunk and in one block."""

    first: int
    last: int


class Load:
    """How many tasks of all jobs one node holds."""

    __slots__ = ("handed",)

    def __init__(self) -> None:
        self.handed = 0


class NodeRun:
    """One job on one node."""

    __slots__ = (
        "chunk", "closed", "cursor", "epoch", "handed", "load", "node", "open", "sent_at", "started", "states",
        "waived",
    )  # fmt: skip

    def __init__(self, node: str, states: bytearray, waived: bool) -> None:
        self.node = node
        self.states = states
        self.cursor = 0
        self.open = 0
        self.waived = waived
        self.chunk = -1  # newest chunk that this session of the node has been given
        self.sent_at = 0.0
        self.epoch = 0  # grows when steps are taken back: what was decided before is void
        self.closed = False  # the node was told to forget the job
        self.started: dict[int, float] = {}
        self.handed = 0  # tasks the node holds: sent or running
        self.load = Load()  # counts the same over all jobs of the node

    def count(self, more: int) -> None:
        """The node holds `more` tasks of this job, or less."""
        self.handed += more
        self.load.handed += more

    def weigh_on(self, load: Load) -> None:
        """Count on `load` from now on; it is the node's, for all of its jobs."""
        self.load.handed -= self.handed
        load.handed += self.handed
        self.load = load

    def first_open(self) -> int:
        """The lowest step that is not final, or the number of steps."""
        found = [self.states.find(letter) for letter in OPEN]
        return min((index for index in found if index >= 0), default=len(self.states))


def blocks_of(meta: Mapping[str, Any]) -> list[Block]:
    """The blocks of a plan's meta, in step order."""
    return [
        Block(
            row["first"], row["last"], row["stage"], row.get("lane", 0), row.get("group", 0), bool(row.get("gate")),
            None if row.get("nodes") is None else frozenset(row["nodes"]),
            None if row.get("choose") is None else tuple(row["choose"]),
        )
        for row in meta["blocks"]
    ]  # fmt: skip


@dataclass(slots=True)
class JobRun:
    """One job that is not final.

    Attributes:
        meta: the plan's meta (stages, blocks, ignored, once, digests …), as stored; a choice changes its blocks.
        created_at: epoch seconds by the server's clock.
        valid_for: seconds a task may wait for its node.
        counts: tasks by state letter.
        limit: first step behind a closed gate.
    """

    id: str
    meta: Mapping[str, Any]
    created_at: float
    valid_for: float
    steps: int
    timeout: float = 0.0  # seconds a task may run, where its step has no limit of its own; 0: not known
    since: float = 0.0  # when it was accepted on the clock that nobody sets, for those who keep time
    state: str = st.JOB_QUEUED
    started_at: float | None = None
    cancelled: str = ""  # the reason, when a cancel was ordered
    held: bool = False  # waits for the job before it
    blocks: list[Block] = field(default_factory=list)
    nodes: dict[str, NodeRun] = field(default_factory=dict)
    counts: list[int] = field(default_factory=lambda: [0] * 256)
    ignored: frozenset[int] = frozenset()
    seeded: frozenset[str] = frozenset()  # nodes that are told what succeeded in the job that this one resumes
    ignored_failures: int = 0
    limit: int = 0
    total: int = 0  # tasks, open or not
    _segments: list[int] = field(default_factory=list)  # first step of each stretch between gates
    _left: list[int] = field(default_factory=list)  # open tasks of nodes that are waited for, by stretch
    _unchosen: dict[int, int] = field(default_factory=dict)  # blocks whose node is not chosen yet, to their stretch
    _awaited: list[int] = field(default_factory=list)  # run-once steps: all wait for whoever has them

    @classmethod
    def build(
        cls, job: str, meta: Mapping[str, Any], created_at: float, valid_for: float, waived: Iterable[str],
        pause: Callable[[], object] = lambda: None,
    ) -> JobRun:  # fmt: skip
        """A new run with every task queued; `waived` are the nodes that are offline now.

        `pause` is called now and then, as this takes its time with many nodes.
        """
        run = cls(job, meta, created_at, valid_for, meta["step_count"])
        run.blocks = blocks_of(meta)
        run.ignored = frozenset(meta.get("ignored", ()))
        run.seeded = frozenset(meta.get("seeded", ()))
        run._segments = [0, *(block.first for block in run.blocks if block.gate and block.first)]
        run._left = [0] * len(run._segments)
        absent = set(waived)
        for index, block in enumerate(run.blocks):
            stage = meta["stages"][block.stage]["nodes"]
            if block.choose is not None:
                run._keep_open(index, stage, absent)
                continue
            if meta["blocks"][index].get("once"):
                run._awaited.extend(range(block.first, block.last + 1))
            for number, name in enumerate(stage if block.nodes is None else sorted(block.nodes), 1):
                run._add(run._node(name, name in absent), block)
                if number % PIECE == 0:
                    pause()
        run._open_gates()
        if not meta.get("after"):  # else it begins later, and chooses then
            run.choose(lambda name: name not in absent)
        return run

    def time_limit(self, step: int) -> float:
        """Seconds after its start at which the step is ended; 0 where no single moment can be named."""
        return float(self.meta.get("timeouts", {}).get(str(step), self.timeout))

    def _node(self, name: str, waived: bool) -> NodeRun:
        node = self.nodes.get(name)
        if node is None:
            node = self.nodes[name] = NodeRun(name, bytearray(b"-") * self.steps, waived)
        return node

    def _add(self, node: NodeRun, block: Block) -> None:
        width = block.last - block.first + 1
        node.states[block.first : block.last + 1] = WAITING * width
        node.open += width
        self.total += width
        self.counts[st.QUEUED] += width
        self._left[self._segment(block.first)] += self._weight(node, block.first, block.last, WAITING)

    # -- run-once -----------------------------------------------------------------------------------------

    def _keep_open(self, index: int, stage: Sequence[str], absent: set[str]) -> None:
        """Nobody has the block's tasks yet; those who may get them belong to the job."""
        block = self.blocks[index]
        allowed = set(stage)
        among = tuple(name for name in block.choose or () if name in allowed)
        self.blocks[index] = replace(block, nodes=frozenset(), choose=among)
        self.meta["blocks"][index].update(nodes=[], choose=list(among))
        self._unchosen[index] = self._segment(block.first)
        self._awaited.extend(range(block.first, block.last + 1))
        for name in among:
            self._node(name, name in absent)

    def choose(self, online: Callable[[str], bool], every: bool = False) -> list[NodeRun]:
        """Choose the node of each run-once step whose stage has started, or of `every` one; who got tasks.

        It is the first in order that is online, else the first; one that has failed has left the job. What was
        chosen is in `meta`, which is to be stored.
        """
        chosen: list[NodeRun] = []
        while index := self._next_choice(every):
            block = self.blocks[index - 1]
            left = [name for name in block.choose or () if not self._is_out(self.nodes[name], block)]
            names = [next((name for name in left if online(name)), left[0])] if left else []
            block = self.blocks[index - 1] = replace(block, nodes=frozenset(names), choose=None)
            row = self.meta["blocks"][index - 1]
            row.update(nodes=names, once=True)
            row.pop("choose", None)
            del self._unchosen[index - 1]
            for name in names:
                self._add(self.nodes[name], block)
                chosen.append(self.nodes[name])
            self._open_gates()
        return chosen

    def _next_choice(self, every: bool) -> int:
        """One more than the index of a block whose stage has started without its node; 0 for none."""
        for index in self._unchosen:
            stage = self.blocks[index].stage
            if every or next(block.first for block in self.blocks if block.stage == stage) < self.limit:
                return index + 1
        return 0

    def _is_out(self, node: NodeRun, block: Block) -> bool:
        """Whether the node has failed before in what counts for the block: the job, or its own async entry."""
        for other in self.blocks:
            if other.lane and other.stage != block.stage:
                continue
            for letter in st.FINAL - st.GOOD:
                at = node.states.find(letter, other.first, other.last + 1)
                while at >= 0 and self._is_ignored(at, letter):
                    at = node.states.find(letter, at + 1, other.last + 1)
                if at >= 0:
                    return True
        return False

    def _weight(self, node: NodeRun, first: int, last: int, only: bytes) -> int:
        """Tasks in a state of `only` that gates wait for: all of the node, or if it is waived what it runs for all."""
        if not node.waived:
            stretch = node.states[first : last + 1]
            return sum(stretch.count(letter) for letter in only)
        steps = self._awaited[bisect_left(self._awaited, first) : bisect_right(self._awaited, last)]
        return sum(node.states[step] in only for step in steps)

    def awaited(self, step: int) -> list[tuple[NodeRun, int]]:
        """The run-once steps of the stage before `step`, the last first, each with the node that has it."""
        stage = self._block(step).stage
        start = next(block.first for block in self.blocks if block.stage == stage)
        once = [other for other in self.meta.get("once", ()) if start <= other < step]
        return [(self.nodes[name], other) for other in reversed(once) for name in self._block(other).nodes or ()]

    def went_well(self, node: NodeRun, step: int) -> bool:
        """Whether the task ended so that others may go on: well, or with a failure that is ignored."""
        return node.states[step] in st.GOOD or self._is_ignored(step, node.states[step])

    # -- reading ------------------------------------------------------------------------------------------

    @property
    def open(self) -> int:
        """Tasks that are not final."""
        return sum(self.counts[letter] for letter in OPEN)

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do."""
        return not self.open and not self._unchosen

    def tasks(self) -> dict[str, int]:
        """The contract's `tasks` object."""
        counts = {"total": self.total}
        counts.update((name, self.counts[letter]) for letter, name in st.NAMES.items())
        return counts

    def verdict(self) -> str:
        """The final state this job has come to; meaningful when nothing is open."""
        bad = sum(self.counts[letter] for letter in st.BAD) - self.ignored_failures
        return st.job_verdict(bad > 0, self.counts[st.CANCELLED] > 0, self.counts[st.EXPIRED] > 0)

    def passed(self, node: NodeRun, step: int) -> bool:
        """Whether the node has ended all it has before `step`: in its async entry and before the group, or in all."""
        block = self._block(step)
        first, end = 0, step
        if block.lane:
            end = min(other.first for other in self.blocks if other.group == block.group)
            first = min(other.first for other in self.blocks if other.stage == block.stage and other.first >= end)
        pieces = [(0, end)] if not block.lane else [(0, end), (first, step)]
        return all(node.states.find(letter, low, high) < 0 for letter in OPEN for low, high in pieces)

    # -- handing over -------------------------------------------------------------------------------------

    def next_parts(self, node: NodeRun, room: int = WINDOW) -> list[StepRange]:
        """What `node` may be given now, at most `room` tasks more; nothing is changed."""
        parts: list[StepRange] = []
        if self.held or self.cancelled:
            return parts
        room = min(room, WINDOW - node.handed)
        for index in range(self._block_index(node.cursor), len(self.blocks)):
            block = self.blocks[index]
            if room <= 0 or block.first >= self.limit:
                break
            for first, last in _queued(node.states, max(block.first, node.cursor), block.last):
                if room <= 0:
                    break
                for part in _by_chunk(first, min(last, first + room - 1)):
                    parts.append(part)
                    room -= part.last - part.first + 1
        return parts

    def hand(self, node: NodeRun, upto: int) -> None:
        """The steps below `upto` are on their way: queued ones become sent."""
        stretch = node.states[node.cursor : upto]
        moved = stretch.count(st.QUEUED)
        node.states[node.cursor : upto] = stretch.replace(WAITING, bytes((st.SENT,)))
        node.cursor = max(node.cursor, upto)
        node.count(moved)
        self.counts[st.QUEUED] -= moved
        self.counts[st.SENT] += moved
        if moved and self.state == st.JOB_QUEUED:
            self.state = st.JOB_RUNNING

    def take_back(self, node: NodeRun, upto: int) -> int:
        """The node says it never had the steps from `upto` on: sent ones are queued again; how many."""
        upto = min(upto, node.cursor)
        stretch = node.states[upto : node.cursor]
        moved = stretch.count(st.SENT)
        node.states[upto : node.cursor] = stretch.replace(bytes((st.SENT,)), WAITING)
        node.cursor = upto
        node.chunk = -1
        node.epoch += 1
        node.count(-moved)
        self.counts[st.SENT] -= moved
        self.counts[st.QUEUED] += moved
        return moved

    # -- ends ---------------------------------------------------------------------------------------------

    def begin(self, node: NodeRun, step: int, at: float) -> bool:
        """The node has started this step; what it was not given, as we know it, is not believed."""
        if not 0 <= step < node.cursor or not st.may_become(node.states[step], st.RUNNING):
            return False
        self._move(node, step, st.RUNNING)
        node.started[step] = at
        return True

    def end(self, node: NodeRun, step: int, state: int, reason: str = "") -> list[RangeEnd] | None:
        """A task ended; the rests that follow from it, or None when it was final already."""
        if not 0 <= step < self.steps or state not in st.FINAL or node.states[step] not in st.OPEN:
            return None
        self._move(node, step, state)
        node.started.pop(step, None)
        node.open -= 1
        self._settle(node, step, 1)
        if self._is_ignored(step, state):
            self.ignored_failures += 1
            return []
        if state not in st.BAD and state != st.CANCELLED:
            return []
        return self._skip_after(node, step, state, reason)

    def end_range(
        self, node: NodeRun, first: int, last: int, state: int, reason: str, only: bytes = OPEN
    ) -> list[RangeEnd]:
        """End every task of `node` from `first` to `last` that is in a state of `only`."""
        first, last = max(first, 0), min(last, self.steps - 1)
        ended = 0
        for low, high, segment in self._stretches(first, last):
            stretch = node.states[low : high + 1]
            here = 0
            for letter in only:
                found = stretch.count(letter)
                self.counts[letter] -= found
                here += found
                if found and letter in HANDED:
                    node.count(-found)
            if here:
                self._left[segment] -= self._weight(node, low, high, only)
                self.counts[state] += here
                node.states[low : high + 1] = stretch.translate(_TABLES[only, state])
                ended += here
        if not ended:
            return []
        node.open -= ended
        for step in [step for step in node.started if first <= step <= last]:
            if node.states[step] in st.FINAL:
                del node.started[step]
        return [RangeEnd(node.node, low, high, state, reason) for low, high in self._chosen(first, last)]

    def cancel(self, reason: str) -> list[RangeEnd]:
        """Cancel what no node has; what nodes hold ends when they report it."""
        self.cancelled = reason
        rests: list[RangeEnd] = []
        for node in self.nodes.values():
            rests += self.end_range(node, node.cursor, self.steps - 1, st.CANCELLED, reason, WAITING)
        return rests

    def expire(self, node: NodeRun, reason: str) -> list[RangeEnd]:
        """What was surely never delivered to `node` has waited too long."""
        rests = self.end_range(node, node.cursor, self.steps - 1, st.EXPIRED, reason, WAITING)
        return rests + (self._skip_behind(node, st.EXPIRED, reason) if rests else [])

    def lose(self, node: NodeRun, reason: str) -> list[RangeEnd]:
        """What `node` held is lost, and what would have followed there is skipped; nothing when it held nothing."""
        return self.give_up(node, reason) if node.handed else []

    def give_up(self, node: NodeRun, reason: str) -> list[RangeEnd]:
        """`node` will run nothing more of this job: what it held is lost, everything else there is skipped."""
        why = f"a step before it was lost: {reason}"
        rests = self.end_range(node, 0, node.cursor - 1, st.LOST, reason, HANDED)
        rests += self.end_range(node, node.cursor, self.steps - 1, st.SKIPPED, why)
        node.epoch += 1
        return rests + self._skip_behind(node, st.LOST, reason) + self._skip_waiting(node, 0, self.steps - 1, why)

    def open_gates(self) -> bool:
        """Open every gate whose time has come; whether one opened."""
        before = self.limit
        if before < self.steps:
            self._open_gates()
        return self.limit != before

    # -- inside -------------------------------------------------------------------------------------------

    def _skip_after(self, node: NodeRun, step: int, state: int, reason: str) -> list[RangeEnd]:
        why = f"step {step} {st.NAMES[state]}" + (f": {reason}" if reason else "")
        if state == st.CANCELLED:
            return self.end_range(node, step + 1, self._reach(step), st.CANCELLED, reason)
        rests = self.end_range(node, step + 1, self._reach(step), st.SKIPPED, why)
        if step in self.meta.get("once", ()):
            return rests + self._skip_others(node, step, why)
        return rests + self._skip_waiting(node, step + 1, self._reach(step), why)

    def _skip_waiting(self, node: NodeRun, first: int, last: int, why: str) -> list[RangeEnd]:
        """`node` will not run what it was to run for all from `first` to `last`: the others are skipped from there."""
        rests: list[RangeEnd] = []
        for step in self.meta.get("once", ()):
            if first <= step <= last and node.states[step] == st.SKIPPED:
                rests += self._skip_others(node, step, why)
        return rests

    def _skip_behind(self, node: NodeRun, state: int, reason: str) -> list[RangeEnd]:
        """What `node` was to run for all ended as `state` there: the others are skipped from there."""
        rests: list[RangeEnd] = []
        for step in self.meta.get("once", ()):
            if node.states[step] == state:
                rests += self._skip_others(node, step, f"step {step} {st.NAMES[state]}: {reason}")
        return rests

    def _skip_others(self, node: NodeRun, step: int, why: str) -> list[RangeEnd]:
        """A step that ran on `node` for all did not succeed: the others are skipped from there.

        Also what they hold: none of it has begun, as nobody was told to go on, so nothing is ended under their hands.
        """
        rests: list[RangeEnd] = []
        for other in self.nodes.values():
            if other is not node:
                reach = self._reach(step)
                rests += self.end_range(other, step + 1, reach, st.SKIPPED, f"on {node.node}, {why}")
        return rests

    def _reach(self, step: int) -> int:
        """The last step that a failure of `step` touches: of its async entry, or of the job."""
        block = self._block(step)
        if not block.lane:
            return self.steps - 1
        return max(b.last for b in self.blocks if b.stage == block.stage)

    def _is_ignored(self, step: int, state: int) -> bool:
        """Whether this failure counts for nothing; a lost step always counts, nobody knows what it did."""
        return step in self.ignored and state in st.IGNORABLE

    def _block(self, step: int) -> Block:
        return self.blocks[self._block_index(step)]

    def _block_index(self, step: int) -> int:
        return max(0, bisect_right(self.blocks, step, key=lambda block: block.first) - 1)

    def _move(self, node: NodeRun, step: int, state: int) -> None:
        before = node.states[step]
        self.counts[before] -= 1
        self.counts[state] += 1
        node.states[step] = state
        node.count((state in HANDED) - (before in HANDED))

    def _settle(self, node: NodeRun, step: int, ended: int) -> None:
        if not node.waived or bisect_right(self._awaited, step) > bisect_left(self._awaited, step):
            self._left[self._segment(step)] -= ended

    def _segment(self, step: int) -> int:
        return bisect_right(self._segments, step) - 1

    def _stretches(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        if first > last:
            return
        for segment in range(self._segment(first), len(self._segments)):
            low = max(first, self._segments[segment])
            if low > last:
                return
            end = self._segments[segment + 1] - 1 if segment + 1 < len(self._segments) else self.steps - 1
            yield low, min(last, end), segment

    def _chosen(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The range without the steps whose node is still to be chosen, which may be one that has ended the others."""
        for block in [self.blocks[index] for index in self._unchosen]:
            if block.first <= last and first <= block.last:
                if first < block.first:
                    yield first, block.first - 1
                first = block.last + 1
        if first <= last:
            yield first, last

    def _open_gates(self) -> None:
        unchosen = frozenset(self._unchosen.values())
        for segment, left in enumerate(self._left):
            if left or segment in unchosen:
                self.limit = self._segments[segment + 1] if segment + 1 < len(self._segments) else self.steps
                return
        self.limit = self.steps


def restore(run: JobRun, held: Mapping[str, Mapping[str, Any]], cancelled: str = "") -> None:
    """Bring a freshly built run to what the ledger holds.

    Args:
        run: from `JobRun.build`.
        held: node to `{"cursor": int, "results": [(step, letter)], "range_ends": [(first, last, letter)]}`.
        cancelled: the reason of a cancel that was ordered before, "" for none.
    """
    run.cancelled = cancelled
    for name, record in held.items():
        node = run.nodes.get(name)
        if node is None:
            continue
        if record["cursor"]:
            run.hand(node, record["cursor"])
        for step, letter in record["results"]:
            _replay(run, node, step, _letter(letter))
        for first, last, letter in record["range_ends"]:
            run.end_range(node, first, last, _letter(letter), "")
    run.open_gates()


def take_over(run: JobRun, succeeded: Mapping[str, str]) -> None:
    """Mark as cached what went well in the job that `run` resumes; a text of 0 and 1 a step by node."""
    for name, flags in succeeded.items():
        node = run.nodes.get(name)
        for found in re.finditer("1+", flags) if node else ():
            run.end_range(run.nodes[name], found.start(), found.end() - 1, st.CACHED, "")
    run.open_gates()


def _replay(run: JobRun, node: NodeRun, step: int, state: int) -> None:
    if node.states[step] in st.OPEN:
        run._move(node, step, state)
        node.open -= 1
        run._settle(node, step, 1)
        run.ignored_failures += run._is_ignored(step, state)


def _letter(state: int | str) -> int:
    return ord(state) if isinstance(state, str) else state


def _queued(states: bytearray, first: int, last: int) -> Iterator[tuple[int, int]]:
    """The stretches of queued steps between `first` and `last`, long ones in pieces."""
    while (first := states.find(st.QUEUED, first, last + 1)) >= 0:
        end = first
        while end < min(last, first + WINDOW - 1) and states[end + 1] == st.QUEUED:
            end += 1
        yield first, end
        first = end + 1


def _by_chunk(first: int, last: int) -> Iterator[StepRange]:
    while first <= last:
        end = min(last, first - first % STEPS_PER_CHUNK + STEPS_PER_CHUNK - 1)
        yield StepRange(first, end)
        first = end + 1


def stage_nodes(meta: Mapping[str, Any]) -> Sequence[str]:
    """Every node of a plan, in the order of its stages."""
    return list(dict.fromkeys(name for stage in meta["stages"] for name in stage["nodes"]))

"""The core of the server: counts, barriers, order, ends, and that a restart finds everything as it was."""

from __future__ import annotations

from collections import Counter
from typing import Any

import hypothesis.strategies as some
import ujson
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from plans import block, build, end, hand_all, meta, seen

from director import states as st
from director.scheduler import ends, windows
from director.scheduler.blocks import Block, Blocks, stage_nodes
from director.scheduler.build import new_run, restore
from director.scheduler.ends import cancel
from director.scheduler.job_state import RangeEnd
from director.scheduler.node_run import NodeRun
from director.scheduler.windows import StepRange, next_ranges
from director.stores.serializers import ledger_letters
from director.stores.sqlite import SqliteStore

NAMES = ("a", "b", "c")


# -- barriers and order ------------------------------------------------------------------------------------------


def test_without_a_barrier_everything_is_handed_at_once() -> None:
    run = build([block(0, 3)], [["a", "b"]])
    assert hand_all(run, "a") == [StepRange(0, 3)]
    assert hand_all(run, "a") == []
    assert seen(run) == {"a": "ssss", "b": "qqqq"}
    assert run.tasks() == {**dict.fromkeys(("total", *st.COUNT_NAMES), 0), "total": 8, "sent": 4, "queued": 4}


def test_a_stage_begins_when_every_task_before_is_final() -> None:
    run = build([block(0, 0), block(1, 1, 1, barrier=True)], [["a", "b"], ["b", "c"]])
    assert hand_all(run, "c") == []
    hand_all(run, "a")
    hand_all(run, "b")
    end(run, "a", 0)
    assert not run.barriers.open()
    end(run, "b", 0, "F")
    assert run.barriers.open()
    assert hand_all(run, "c") == [StepRange(1, 1)]
    assert seen(run) == {"a": "S-", "b": "FK", "c": "-s"}


def test_nobody_waits_for_a_node_that_was_offline_when_the_job_began() -> None:
    run = build([block(0, 0), block(1, 1, 1, barrier=True)], [["a", "b"], ["a", "b"]], waived=("b",))
    hand_all(run, "a")
    end(run, "a", 0)
    assert run.barriers.open()
    assert hand_all(run, "a") == [StepRange(1, 1)]
    assert hand_all(run, "b") == [StepRange(0, 0), StepRange(1, 1)], "it runs its stages in order when it returns"


def test_a_waived_node_waits_for_the_others() -> None:
    run = build([block(0, 0), block(1, 1, 1, barrier=True)], [["a", "b"], ["b"]], waived=("b",))
    assert hand_all(run, "b") == [StepRange(0, 0)]


def test_barriers_behind_empty_sections_open_together() -> None:
    blocks = [block(0, 0), block(1, 1, 1, barrier=True), block(2, 2, 2, barrier=True), block(3, 3, 3, barrier=True)]
    run = build(blocks, [["a"], ["b"], ["b"], ["a"]], waived=("b",))
    hand_all(run, "a")
    end(run, "a", 0)
    assert run.barriers.open()
    assert run.barriers.limit == 4


def test_ranges_end_at_chunks_windows_and_blocks() -> None:
    chunks = [{"first": first, "contents": {}} for first in (0, 256, 300, 512, 768, 1024, 1280)]
    run = build([block(0, 299), block(300, 1299, 0, nodes=["a"])], [["a", "b"]], chunks=chunks)
    assert next_ranges(run, run.nodes["a"]) == [StepRange(0, 255), StepRange(256, 299), StepRange(300, 511)]
    assert next_ranges(run, run.nodes["b"]) == [StepRange(0, 255), StepRange(256, 299)]
    assert next_ranges(run, run.nodes["a"], 10) == [StepRange(0, 9)]
    hand_all(run, "a")
    end(run, "a", 0)
    assert next_ranges(run, run.nodes["a"]) == [StepRange(512, 512)]


def test_steps_that_ended_in_between_are_not_handed_again() -> None:
    run = build([block(0, 9)], [["a"]])
    hand_all(run, "a")
    end(run, "a", 3)
    run.take_back(run.nodes["a"], 2)
    assert next_ranges(run, run.nodes["a"]) == [StepRange(2, 2), StepRange(4, 9)]


def test_a_blocked_or_cancelled_job_hands_out_nothing() -> None:
    run = build([block(0, 1)], [["a"]])
    run.blocked = True
    assert next_ranges(run, run.nodes["a"]) == []
    run.blocked, run.cancelled = False, "why"
    assert next_ranges(run, run.nodes["a"]) == []


def test_take_back_queues_sent_tasks_again_and_voids_slices() -> None:
    run = build([block(0, 5)], [["a"]])
    node = run.nodes["a"]
    hand_all(run, "a")
    end(run, "a", 0)
    epoch = node.epoch
    assert run.take_back(node, 2) == 4
    assert (seen(run)["a"], node.cursor, node.chunk, node.epoch) == ("Ssqqqq", 2, -1, epoch + 1)
    assert hand_all(run, "a") == [StepRange(2, 5)]


def test_a_node_cannot_begin_what_was_not_handed_to_it() -> None:
    run = build([block(0, 5)], [["a"]])
    node = run.nodes["a"]
    assert not run.begin(node, 0, 1.0)
    hand_all(run, "a")
    assert run.begin(node, 0, 1.0)
    assert not run.begin(node, 0, 1.0)
    assert not run.begin(node, 6, 1.0)
    assert not run.begin(node, -1, 1.0)


# -- any history ----------------------------------------------------------------------------------------------


@some.composite
def metas(draw: Any) -> dict[str, Any]:
    """Stages of blocks with barriers, lanes, narrowed nodes, run-once and ignored steps."""
    blocks: list[dict[str, Any]] = []
    stages: list[list[str]] = []
    once: list[int] = []
    step = group = lane = 0
    for stage in range(draw(some.integers(1, 4))):
        lane = lane + 1 if draw(some.booleans()) else 0
        group += lane == 1
        stages.append(draw(some.lists(some.sampled_from(NAMES), min_size=1, unique=True)))
        barrier = bool(blocks) and lane < 2
        for _ in range(draw(some.integers(1, 3))):
            width = draw(some.integers(1, 4))
            narrow = draw(some.booleans())
            blocks.append(
                block(step, step + width - 1, stage, barrier=barrier, lane=lane, group=group if lane else 0,
                      nodes=[draw(some.sampled_from(stages[-1]))] if narrow else None)
            )  # fmt: skip
            if narrow and width == 1 and draw(some.booleans()):
                blocks[-1]["barrier"] = bool(step)
                once.append(step)
            barrier = draw(some.booleans()) or once[-1:] == [step]
            step += width
    ignored = draw(some.lists(some.integers(0, step - 1), max_size=2, unique=True))
    return meta(blocks, stages, once=once, ignored=ignored)


class History(RuleBasedStateMachine):
    """Everything a scheduler may do to a job, with what it would write; the ledger is compared after each step."""

    @initialize(plan=metas(), waived=some.sets(some.sampled_from(NAMES)))
    def begin(self, plan: dict[str, Any], waived: set[str]) -> None:
        self.meta, self.waived = plan, waived
        self.run = new_run("j", plan, waived)
        self.store = SqliteStore()
        self.finals: dict[tuple[str, int], int] = {}
        self.given: Counter[tuple[str, int]] = Counter()
        self.number = 0
        fields = {
            "id": "j", "name": "n", "kind": "exec", "created_at": 0.0, "submitted_by": "root", "digest": "d",
            "step_count": self.run.steps, "node_count": len(self.run.nodes), "task_count": self.run.total,
            "options": {}, "meta": plan, "nodes": list(self.run.nodes),
        }  # fmt: skip
        self.store.apply([("accept", fields, [b"[]"])])

    def _store(self, found: list[RangeEnd]) -> None:
        items = [(r.node, r.first, r.last, chr(r.state), r.reason, 1.0) for r in found]
        self.store.apply([("range_ends", {"job": "j", "items": items})])

    def _node(self, name: str) -> NodeRun:
        nodes = self.run.nodes
        return nodes.get(name) or next(iter(nodes.values()))

    def _sent(self, node: NodeRun) -> None:
        self.store.apply([("cursors", {"job": "j", "cursors": {node.node: node.cursor}})])

    @rule(name=some.sampled_from(NAMES), room=some.integers(1, 6))
    def hand(self, name: str, room: int) -> None:
        node = self._node(name)
        held, cursor = node.handed, node.cursor
        ranges = next_ranges(self.run, node, room)
        steps = [step for first, last in ranges for step in range(first, last + 1)]
        assert steps == sorted(set(steps))
        room = max(0, min(room, windows.WINDOW - held))
        assert len(steps) <= room
        limit = self.run.barriers.limit
        assert all(step >= cursor and node.states[step] == st.QUEUED and step < limit for step in steps)
        expected = [step for step in range(cursor, limit) if node.states[step] == st.QUEUED]
        assert steps == ([] if self.run.cancelled else expected[:room]), "nothing is left out"
        if ranges:
            self.run.hand_out(node, ranges[-1].last + 1)
            self.given.update((node.node, step) for step in steps)
            assert all(self.given[node.node, step] == 1 for step in steps)
            self._sent(node)

    @rule(name=some.sampled_from(NAMES), data=some.data())
    def take_back(self, name: str, data: Any) -> None:
        node = self._node(name)
        upto = data.draw(some.integers(0, self.run.steps))
        if st.RUNNING in node.states[upto : node.cursor]:
            return
        sent = [step for step in range(upto, node.cursor) if node.states[step] == st.SENT]
        assert self.run.take_back(node, upto) == len(sent)
        for step in sent:
            self.given[node.node, step] -= 1
        self._sent(node)

    @rule(name=some.sampled_from(NAMES))
    def start(self, name: str) -> None:
        node = self._node(name)
        step = node.states.find(st.SENT)
        if step >= 0:
            assert self.run.begin(node, step, 1.0)

    @rule(name=some.sampled_from(NAMES), letter=some.sampled_from("SSSSCFTXL"), data=some.data())
    def end_one(self, name: str, letter: str, data: Any) -> None:
        node = self._node(name)
        step = node.first_open() if data.draw(some.booleans()) else data.draw(some.integers(0, self.run.steps - 1))
        if step >= self.run.steps:
            return
        was = node.states[step]
        found = ends.end(self.run, node, step, ord(letter), "why")
        assert (found is None) == (was not in st.OPEN)
        if found is not None:
            self.number += 1
            row = [step, letter, 0, 1.0, 2.0, 1.0, 1.0, 1, "why", 0, 0, 0, None]
            self.store.apply([("results", {"job": "j", "node": node.node, "results": [row]}, b"")])
            self._store(found)

    @rule(name=some.sampled_from(NAMES), how=some.sampled_from(["lose", "expire", "give_up"]))
    def end_many(self, name: str, how: str) -> None:
        self._store(getattr(ends, how)(self.run, self._node(name), how))

    @rule()
    def open_barriers(self) -> None:
        self.run.barriers.open()

    @rule()
    def cancel(self) -> None:
        if self.number > 8 and not self.run.cancelled:
            self._store(cancel(self.run, "why"))

    @invariant()
    def counts_add_up(self) -> None:
        run = self.run
        letters = [letter for node in run.nodes.values() for letter in node.states if letter != st.NONE]
        found = Counter(letters)
        assert all(run.counts[letter] == found[letter] for letter in range(256))
        assert run.tasks() == st.count(letters)
        assert run.total == len(letters) == sum(found.values())
        assert run.open == sum(found[letter] for letter in st.OPEN)
        for node in run.nodes.values():
            assert node.open == sum(letter in st.OPEN for letter in node.states)
            assert st.QUEUED not in node.states[: node.cursor]
            assert not {st.SENT, st.RUNNING} & set(node.states[node.cursor :])
            assert node.handed == sum(letter in (st.SENT, st.RUNNING) for letter in node.states)

    @invariant()
    def final_states_stay(self) -> None:
        for node in self.run.nodes.values():
            for step, letter in enumerate(node.states):
                known = self.finals.setdefault((node.node, step), letter) if letter in st.FINAL else None
                assert known in (None, letter)
                assert letter in st.FINAL or (node.node, step) not in self.finals

    @invariant()
    def barriers_open_exactly_when_they_may(self) -> None:
        run = self.run
        limits = [b["first"] for b in self.meta["blocks"] if b["barrier"] and b["first"]]

        def open_before(step: int) -> bool:
            nodes = [node for node in run.nodes.values() if node.node not in self.waived]
            return any(letter in st.OPEN for node in nodes for letter in node.states[:step])

        run.barriers.open()
        assert run.barriers.limit == next((limit for limit in limits if open_before(limit)), run.steps)

    @invariant()
    def a_restart_finds_it_as_it_was(self) -> None:
        self.run.barriers.open()
        jobs = list(self.store.open_jobs())
        nodes = ujson.loads(ujson.dumps(jobs[0]["nodes"]))
        again = new_run("j", self.meta, self.waived)
        restore(again, nodes, self.run.cancelled)
        for name, node in self.run.nodes.items():
            other = again.nodes[name]
            assert other.states == node.states.replace(b"r", b"s"), name
            assert (other.cursor, other.open) == (node.cursor, node.open)
        assert again.barriers.limit == self.run.barriers.limit
        assert (again.open, again.total) == (self.run.open, self.run.total)
        assert (again.verdict(), again.ignored_failures) == (self.run.verdict(), self.run.ignored_failures)

    @invariant()
    def the_ledger_has_the_same_states(self) -> None:
        with self.store.view("j") as view:
            letters = dict(zip(view.nodes, ledger_letters(view), strict=True))
        assert letters == {name: node.states.replace(b"r", b"s") for name, node in self.run.nodes.items()}


History.TestCase.settings = settings(
    max_examples=100, stateful_step_count=25, deadline=None, derandomize=True, database=None
)
TestHistory = History.TestCase


def test_blocks_are_read_from_a_plan() -> None:
    found = Blocks.from_meta(meta([block(0, 1), block(2, 2, 0, barrier=True, nodes=["a"])], [["a", "b"]]))
    assert found[1] == Block(2, 2, 0, barrier=True, nodes=["a"])


def test_nodes_of_stages_are_named_once_in_order() -> None:
    assert stage_nodes(meta([block(0, 0)], [["b", "a"], ["a", "c"]])) == ["b", "a", "c"]

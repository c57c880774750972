"""The core of the server: counts, gates, order, ends, and that a restart finds everything as it was."""

from __future__ import annotations

from collections import Counter
from typing import Any

import hypothesis.strategies as some
import pytest
import ujson
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from director import states as st
from director.scheduler import job_state
from director.scheduler.job_state import JobRun, NodeRun, RangeEnd, StepRange, blocks_of, restore, stage_nodes
from director.stores.memory import MemoryStore
from director.stores.serializers import ledger_letters

NAMES = ("a", "b", "c")


def block(first: int, last: int, stage: int = 0, **more: Any) -> dict[str, Any]:
    return {"first": first, "last": last, "stage": stage, "lane": 0, "group": 0, "gate": False, "nodes": None, **more}


def meta(blocks: list[dict[str, Any]], stages: list[list[str]], **more: Any) -> dict[str, Any]:
    named = [{"name": "", "nodes": nodes} for nodes in stages]
    return {"step_count": blocks[-1]["last"] + 1, "stages": named, "blocks": blocks, **more}


def build(blocks: list[dict[str, Any]], stages: list[list[str]], waived: tuple[str, ...] = (), **more: Any) -> JobRun:
    return JobRun.build("j", meta(blocks, stages, **more), 0.0, 60.0, waived)


def hand_all(run: JobRun, name: str) -> list[StepRange]:
    """Give the node what it may have."""
    node = run.nodes[name]
    parts = run.next_parts(node)
    if parts:
        run.hand(node, parts[-1].last + 1)
    return parts


def end(run: JobRun, name: str, step: int, letter: str = "S") -> list[RangeEnd] | None:
    return run.end(run.nodes[name], step, ord(letter), "why")


def seen(run: JobRun) -> dict[str, str]:
    return {name: node.states.decode() for name, node in run.nodes.items()}


# -- gates and order ------------------------------------------------------------------------------------------


def test_without_a_gate_everything_is_handed_at_once() -> None:
    run = build([block(0, 3)], [["a", "b"]])
    assert hand_all(run, "a") == [StepRange(0, 3)]
    assert hand_all(run, "a") == []
    assert seen(run) == {"a": "ssss", "b": "qqqq"}
    assert run.tasks() == {**dict.fromkeys(("total", *st.COUNT_NAMES), 0), "total": 8, "sent": 4, "queued": 4}


def test_a_stage_begins_when_every_task_before_is_final() -> None:
    run = build([block(0, 0), block(1, 1, 1, gate=True)], [["a", "b"], ["b", "c"]])
    assert hand_all(run, "c") == []
    hand_all(run, "a")
    hand_all(run, "b")
    end(run, "a", 0)
    assert not run.open_gates()
    end(run, "b", 0, "F")
    assert run.open_gates()
    assert hand_all(run, "c") == [StepRange(1, 1)]
    assert seen(run) == {"a": "S-", "b": "FK", "c": "-s"}


def test_nobody_waits_for_a_node_that_was_offline_when_the_job_began() -> None:
    run = build([block(0, 0), block(1, 1, 1, gate=True)], [["a", "b"], ["a", "b"]], waived=("b",))
    hand_all(run, "a")
    end(run, "a", 0)
    assert run.open_gates()
    assert hand_all(run, "a") == [StepRange(1, 1)]
    assert hand_all(run, "b") == [StepRange(0, 0), StepRange(1, 1)], "it runs its stages in order when it returns"


def test_a_waived_node_waits_for_the_others_all_the_same() -> None:
    run = build([block(0, 0), block(1, 1, 1, gate=True)], [["a", "b"], ["b"]], waived=("b",))
    assert hand_all(run, "b") == [StepRange(0, 0)]


def test_gates_behind_empty_stretches_open_together() -> None:
    blocks = [block(0, 0), block(1, 1, 1, gate=True), block(2, 2, 2, gate=True), block(3, 3, 3, gate=True)]
    run = build(blocks, [["a"], ["b"], ["b"], ["a"]], waived=("b",))
    hand_all(run, "a")
    end(run, "a", 0)
    assert run.open_gates()
    assert run.limit == 4


def test_parts_end_at_chunks_windows_and_blocks() -> None:
    run = build([block(0, 299), block(300, 1299, 0, nodes=["a"])], [["a", "b"]])
    assert run.next_parts(run.nodes["a"]) == [StepRange(0, 255), StepRange(256, 299), StepRange(300, 511)]
    assert run.next_parts(run.nodes["b"]) == [StepRange(0, 255), StepRange(256, 299)]
    assert run.next_parts(run.nodes["a"], 10) == [StepRange(0, 9)]
    hand_all(run, "a")
    end(run, "a", 0)
    assert run.next_parts(run.nodes["a"]) == [StepRange(512, 512)]


def test_steps_that_ended_in_between_are_not_handed_again() -> None:
    run = build([block(0, 9)], [["a"]])
    hand_all(run, "a")
    end(run, "a", 3)
    run.take_back(run.nodes["a"], 2)
    assert run.next_parts(run.nodes["a"]) == [StepRange(2, 2), StepRange(4, 9)]


def test_a_held_or_cancelled_job_hands_nothing() -> None:
    run = build([block(0, 1)], [["a"]])
    run.held = True
    assert run.next_parts(run.nodes["a"]) == []
    run.held, run.cancelled = False, "why"
    assert run.next_parts(run.nodes["a"]) == []


def test_take_back_makes_queued_what_was_sent_and_voids_what_was_decided() -> None:
    run = build([block(0, 5)], [["a"]])
    node = run.nodes["a"]
    hand_all(run, "a")
    end(run, "a", 0)
    epoch = node.epoch
    assert run.take_back(node, 2) == 4
    assert (seen(run)["a"], node.cursor, node.chunk, node.epoch) == ("Ssqqqq", 2, -1, epoch + 1)
    assert hand_all(run, "a") == [StepRange(2, 5)]


def test_what_a_node_was_not_given_it_cannot_have_begun() -> None:
    run = build([block(0, 5)], [["a"]])
    node = run.nodes["a"]
    assert not run.begin(node, 0, 1.0)
    hand_all(run, "a")
    assert run.begin(node, 0, 1.0)
    assert not run.begin(node, 0, 1.0)
    assert not run.begin(node, 6, 1.0)
    assert not run.begin(node, -1, 1.0)


# -- ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", "FTL")
def test_a_failure_skips_what_follows_on_the_node_only(letter: str) -> None:
    run = build([block(0, 2), block(3, 3, 1, gate=True)], [["a", "b"], ["a"]])
    hand_all(run, "a")
    rests = end(run, "a", 0, letter)
    assert seen(run) == {"a": letter + "KKK", "b": "qqq-"}
    assert rests is not None
    assert [(r.node, r.first, r.last, r.state) for r in rests] == [("a", 1, 3, st.SKIPPED)]
    assert "why" in rests[0].reason
    assert end(run, "a", 0) is None
    assert end(run, "a", 1) is None


@pytest.mark.parametrize("letter, stops", [("F", False), ("T", False), ("L", True), ("X", True)])
def test_ignored_failures_stop_and_count_nothing(letter: str, stops: bool) -> None:
    run = build([block(0, 1)], [["a"]], ignored=[0])
    hand_all(run, "a")
    end(run, "a", 0, letter)
    assert (seen(run)["a"][1] != "s") == stops
    end(run, "a", 1)
    assert (run.verdict() == st.JOB_SUCCESS) == (not stops)


def test_a_failure_in_an_async_entry_stays_in_it() -> None:
    blocks = [block(0, 1, 0, lane=1, group=1), block(2, 3, 1, lane=2, group=1), block(4, 4, 2, gate=True)]
    run = build(blocks, [["a"], ["a"], ["a"]])
    hand_all(run, "a")
    end(run, "a", 0, "F")
    assert seen(run)["a"] == "FKssq"
    end(run, "a", 2)
    end(run, "a", 3)
    assert run.open_gates()
    assert hand_all(run, "a") == [StepRange(4, 4)]


def test_a_run_once_step_that_fails_skips_the_others_from_there() -> None:
    blocks = [block(0, 0), block(1, 1, 0, gate=True, nodes=["a"]), block(2, 3, 0, gate=True)]
    run = build(blocks, [["a", "b"]], once=[1])
    for name in "ab":
        hand_all(run, name)
        end(run, name, 0)
    run.open_gates()
    hand_all(run, "a")
    end(run, "a", 1, "F")
    assert seen(run) == {"a": "SFKK", "b": "S-KK"}
    assert run.open == 0
    assert run.verdict() == st.JOB_FAILED


def test_a_run_once_step_that_is_lost_skips_the_others_too() -> None:
    blocks = [block(0, 0, 0, nodes=["a"]), block(1, 1, 0, gate=True)]
    run = build(blocks, [["a", "b"]], once=[0])
    hand_all(run, "a")
    run.lose(run.nodes["a"], "silent")
    assert seen(run) == {"a": "LK", "b": "-K"}


def test_a_run_once_step_that_its_node_never_comes_to_skips_the_others_too() -> None:
    blocks = [block(0, 1), block(2, 2, 0, gate=True, nodes=["a"]), block(3, 3, 0, gate=True)]
    for end_it in (lambda run: end(run, "a", 0, "F"), lambda run: run.lose(run.nodes["a"], "silent")):
        run = build(blocks, [["a", "b"]], once=[2])
        hand_all(run, "a")
        hand_all(run, "b")
        end_it(run)
        assert seen(run)["a"][2:] == "KK"
        assert seen(run)["b"] == "ss-K"
        for step in (0, 1):
            end(run, "b", step)
        assert run.nodes["b"].open == 0


def test_a_node_that_is_lost_takes_the_run_once_steps_of_all_its_entries_with_it() -> None:
    blocks = [block(0, 0), block(1, 1, 1, lane=1, group=1, gate=True, nodes=["a"]), block(2, 2, 1, lane=1, group=1)]
    blocks += [block(3, 3, 2, lane=2, group=1, nodes=["a"]), block(4, 4, 2, lane=2, group=1)]
    run = build(blocks, [["a", "b"]] * 3, once=[1, 3])
    hand_all(run, "a")
    run.lose(run.nodes["a"], "silent")
    assert seen(run) == {"a": "LKKKK", "b": "q-K-K"}


def test_what_waits_on_other_nodes_is_skipped_there() -> None:
    plan = [block(0, 0), block(1, 1, nodes=["a"], once=True), block(2, 3)]
    run = build(plan, [["a", "b", "c"]], waived=("a",), once=[1])
    hand_all(run, "b")
    hand_all(run, "c")
    run.begin(run.nodes["c"], 0, 1.0)
    run.take_back(run.nodes["c"], 3)
    hand_all(run, "a")
    end(run, "a", 0)
    rests = end(run, "a", 1, "F")
    assert seen(run) == {"a": "SFKK", "b": "s-KK", "c": "r-KK"}, "what stands before it goes on"
    assert [(r.node, r.first, r.last, r.state) for r in rests or ()] == [(n, 2, 3, st.SKIPPED) for n in "abc"]
    assert (run.nodes["b"].handed, run.nodes["c"].handed, run.open) == (1, 1, 2)


def test_gates_wait_for_a_waived_node_only_where_it_runs_a_step_for_all() -> None:
    blocks = [block(0, 0), block(1, 1, 0, nodes=["a"], once=True), block(2, 2), block(3, 3, 1, gate=True)]
    run = build(blocks, [["a", "b"], ["b"]], waived=("a",), once=[1])
    assert run.limit == 3, "nothing in the stage is held back"
    for name in "ab":
        hand_all(run, name)
    for name, step in (("b", 0), ("b", 2), ("a", 0)):
        end(run, name, step)
    assert not run.open_gates()
    assert run.awaited(2) == [(run.nodes["a"], 1)] and not run.awaited(3)
    assert not run.went_well(run.nodes["a"], 1)
    end(run, "a", 1)
    assert run.went_well(run.nodes["a"], 1) and run.open_gates() and seen(run)["a"] == "SSs-"


def test_what_expires_in_two_entries_skips_the_others_in_both() -> None:
    blocks = [block(0, 0, 0, lane=1, group=1, nodes=["a"], once=True), block(1, 1, 0, lane=1, group=1)]
    blocks += [block(2, 2, 1, lane=2, group=1, nodes=["a"], once=True), block(3, 3, 1, lane=2, group=1)]
    run = build(blocks, [["a", "b"]] * 2, waived=("a",), once=[0, 2])
    hand_all(run, "b")
    run.expire(run.nodes["a"], "late")
    assert seen(run) == {"a": "EEEE", "b": "-K-K"}
    assert run.over


def test_cancel_ends_what_no_node_has() -> None:
    run = build([block(0, 1), block(2, 3, 1, gate=True)], [["a", "b"], ["a", "b"]])
    hand_all(run, "a")
    rests = run.cancel("by root")
    assert seen(run) == {"a": "ssXX", "b": "XXXX"}
    assert {(r.node, r.first, r.reason) for r in rests} == {("a", 2, "by root"), ("b", 0, "by root")}
    end(run, "a", 0)
    end(run, "a", 1, "X")
    assert run.verdict() == st.JOB_CANCELLED


def test_only_what_was_never_delivered_expires() -> None:
    run = build([block(0, 1), block(2, 3, 1, gate=True)], [["a"], ["a"]])
    hand_all(run, "a")
    run.expire(run.nodes["a"], "late")
    assert seen(run)["a"] == "ssEE"


def test_what_a_silent_node_held_is_lost_and_what_follows_is_skipped() -> None:
    run = build([block(0, 2), block(3, 3, 1, gate=True)], [["a"], ["a"]])
    node = run.nodes["a"]
    assert run.lose(node, "silent") == [], "it held nothing"
    hand_all(run, "a")
    end(run, "a", 0)
    run.begin(node, 1, 1.0)
    epoch = node.epoch
    run.lose(node, "silent")
    assert (seen(run)["a"], node.open, node.epoch > epoch, node.started) == ("SLLK", 0, True, {})


@pytest.mark.parametrize(
    "letters, expected",
    [
        ("SC", "success"),
        ("SE", "incomplete"),
        ("EX", "cancelled"),
        ("XF", "failed"),
        ("SL", "failed"),
        ("ST", "failed"),
    ],
)
def test_verdicts(letters: str, expected: str) -> None:
    run = build([block(0, 0)], [["a", "b"]])
    for name, letter in zip("ab", letters, strict=True):
        run.end(run.nodes[name], 0, ord(letter))
    assert run.open == 0
    assert run.verdict() == expected


def test_a_job_runs_from_its_first_handed_step_on() -> None:
    run = build([block(0, 1)], [["a"]])
    assert run.state == st.JOB_QUEUED
    hand_all(run, "a")
    assert run.state == st.JOB_RUNNING


def test_nodes_of_stages_are_named_once_in_order() -> None:
    assert stage_nodes(meta([block(0, 0)], [["b", "a"], ["a", "c"]])) == ["b", "a", "c"]


# -- any history ----------------------------------------------------------------------------------------------


@some.composite
def metas(draw: Any) -> dict[str, Any]:
    """Stages of blocks with gates, lanes, narrowed nodes, run-once and ignored steps."""
    blocks: list[dict[str, Any]] = []
    stages: list[list[str]] = []
    once: list[int] = []
    step = group = lane = 0
    for stage in range(draw(some.integers(1, 4))):
        lane = lane + 1 if draw(some.booleans()) else 0
        group += lane == 1
        stages.append(draw(some.lists(some.sampled_from(NAMES), min_size=1, unique=True)))
        gate = bool(blocks) and lane < 2
        for _ in range(draw(some.integers(1, 3))):
            width = draw(some.integers(1, 4))
            narrow = draw(some.booleans())
            blocks.append(
                block(step, step + width - 1, stage, gate=gate, lane=lane, group=group if lane else 0,
                      nodes=[draw(some.sampled_from(stages[-1]))] if narrow else None)
            )  # fmt: skip
            if narrow and width == 1 and draw(some.booleans()):
                blocks[-1]["gate"] = bool(step)
                once.append(step)
            gate = draw(some.booleans()) or once[-1:] == [step]
            step += width
    ignored = draw(some.lists(some.integers(0, step - 1), max_size=2, unique=True))
    return meta(blocks, stages, once=once, ignored=ignored)


class History(RuleBasedStateMachine):
    """Everything a desk may do to a run, with what it would write; the ledger is asked after each step."""

    @initialize(plan=metas(), waived=some.sets(some.sampled_from(NAMES)))
    def begin(self, plan: dict[str, Any], waived: set[str]) -> None:
        self.meta, self.waived = plan, waived
        self.run = JobRun.build("j", plan, 0.0, 60.0, waived)
        self.store = MemoryStore()
        self.finals: dict[tuple[str, int], int] = {}
        self.given: Counter[tuple[str, int]] = Counter()
        self.number = 0
        fields = {
            "id": "j", "name": "n", "kind": "exec", "created_at": 0.0, "submitted_by": "root", "digest": "d",
            "step_count": self.run.steps, "node_count": len(self.run.nodes), "task_count": self.run.total,
            "options": {}, "meta": plan, "nodes": list(self.run.nodes),
        }  # fmt: skip
        self.store.apply([("accept", fields, [b"[]"])])

    def _rests(self, rests: list[RangeEnd]) -> None:
        items = [(r.node, r.first, r.last, chr(r.state), r.reason, 1.0) for r in rests]
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
        parts = self.run.next_parts(node, room)
        steps = [step for part in parts for step in range(part.first, part.last + 1)]
        assert steps == sorted(set(steps))
        room = max(0, min(room, job_state.WINDOW - held))
        assert len(steps) <= room
        assert all(step >= cursor and node.states[step] == st.QUEUED and step < self.run.limit for step in steps)
        expected = [step for step in range(cursor, self.run.limit) if node.states[step] == st.QUEUED]
        assert steps == ([] if self.run.cancelled else expected[:room]), "nothing is left out"
        if parts:
            self.run.hand(node, parts[-1].last + 1)
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
    def end(self, name: str, letter: str, data: Any) -> None:
        node = self._node(name)
        step = node.first_open() if data.draw(some.booleans()) else data.draw(some.integers(0, self.run.steps - 1))
        if step >= self.run.steps:
            return
        was = node.states[step]
        rests = self.run.end(node, step, ord(letter), "why")
        assert (rests is None) == (was not in st.OPEN)
        if rests is not None:
            self.number += 1
            row = [step, letter, 0, 1.0, 2.0, 1.0, 1.0, 1, "why", 0, 0, 0, None]
            self.store.apply([("results", {"job": "j", "node": node.node, "results": [row]}, b"")])
            self._rests(rests)

    @rule(name=some.sampled_from(NAMES), how=some.sampled_from(["lose", "expire", "give_up"]))
    def end_many(self, name: str, how: str) -> None:
        self._rests(getattr(self.run, how)(self._node(name), how))

    @rule()
    def open_gates(self) -> None:
        self.run.open_gates()

    @rule()
    def cancel(self) -> None:
        if self.number > 8 and not self.run.cancelled:
            self._rests(self.run.cancel("why"))

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
    def finals_stay(self) -> None:
        for node in self.run.nodes.values():
            for step, letter in enumerate(node.states):
                known = self.finals.setdefault((node.node, step), letter) if letter in st.FINAL else None
                assert known in (None, letter)
                assert letter in st.FINAL or (node.node, step) not in self.finals

    @invariant()
    def gates_open_exactly_when_they_may(self) -> None:
        run = self.run
        limits = [b["first"] for b in self.meta["blocks"] if b["gate"] and b["first"]]

        def open_before(step: int) -> bool:
            nodes = [node for node in run.nodes.values() if node.node not in self.waived]
            return any(letter in st.OPEN for node in nodes for letter in node.states[:step])

        run.open_gates()
        assert run.limit == next((limit for limit in limits if open_before(limit)), run.steps)

    @invariant()
    def a_restart_finds_it_as_it_was(self) -> None:
        self.run.open_gates()
        jobs = list(self.store.open_jobs())
        nodes = ujson.loads(ujson.dumps(jobs[0]["nodes"]))
        again = JobRun.build("j", self.meta, 0.0, 60.0, self.waived)
        restore(again, nodes, self.run.cancelled)
        for name, node in self.run.nodes.items():
            other = again.nodes[name]
            assert other.states == node.states.replace(b"r", b"s"), name
            assert (other.cursor, other.open) == (node.cursor, node.open)
        assert (again.limit, again.open, again.total) == (self.run.limit, self.run.open, self.run.total)
        assert (again.verdict(), again.ignored_failures) == (self.run.verdict(), self.run.ignored_failures)

    @invariant()
    def the_ledger_alone_tells_the_same(self) -> None:
        with self.store.view("j") as view:
            letters = dict(zip(view.nodes, ledger_letters(view), strict=True))
        assert letters == {name: node.states.replace(b"r", b"s") for name, node in self.run.nodes.items()}


History.TestCase.settings = settings(
    max_examples=100, stateful_step_count=25, deadline=None, derandomize=True, database=None
)
TestHistory = History.TestCase


def test_blocks_are_read_from_a_plan() -> None:
    found = blocks_of(meta([block(0, 1), block(2, 2, 0, gate=True, nodes=["a"])], [["a", "b"]]))
    assert found[1] == job_state.Block(2, 2, 0, gate=True, nodes=frozenset(["a"]))

"""Chunks: every step is in one, at most so many are in one, and all of one go to the same nodes, also when resumed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import ujson
from hypothesis import given, settings
from hypothesis import strategies as st

from director.planning import plan as module
from director.planning.plan import Plan, PlannedStage, PlannedStep
from director.scheduler.build import new_run
from director.scheduler.choice import choose
from director.scheduler.chunks import Chunks, StepRange
from director.scheduler.job_state import JobRun
from director.server.resume import plan_of

NODES = ("a", "b", "c", "d")
MOST = 4

some_nodes = st.lists(st.sampled_from(NODES), min_size=1, unique=True)
one_step = st.tuples(st.sampled_from(("all", "assign", "once", "barrier")), some_nodes)
one_stage = st.tuples(some_nodes, st.integers(0, 2), st.lists(one_step, min_size=1, max_size=9))


@pytest.fixture(autouse=True, scope="module")
def small() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STEPS_PER_CHUNK", MOST)
        yield


def plan(spec: list[Any]) -> Plan:
    """A plan of stages as (nodes, lane, steps), each step as (kind, nodes); lanes of neighbours are one group."""
    stages, steps = [], []
    for index, (nodes, lane, kinds) in enumerate(spec):
        stages.append(stage := PlannedStage(index, f"s{index}", nodes, lane=lane and index + 1, group=lane))
        for kind, wanted in kinds:
            some = [name for name in nodes if name in wanted] or nodes
            row = {"i": len(steps), "stage": index, "flags": {}}
            once, barrier = kind == "once", kind == "barrier"
            own = some[:1] if once else some if kind == "assign" else None
            steps.append(PlannedStep(row, stage, own, once, barrier, choose=some if once else None))
    return Plan(stages, steps)


def nodes_by_step(run: JobRun) -> list[set[str]]:
    return [{name for name, node in run.nodes.items() if node.has(step)} for step in range(run.steps)]


def check_sets(run: JobRun, numbers: list[list[int]]) -> None:
    nodes = nodes_by_step(run)
    for chunk in numbers:
        assert len({frozenset(nodes[step]) for step in chunk}) == 1, (chunk, nodes)


@settings(max_examples=150, deadline=None)
@given(st.lists(one_stage, min_size=1, max_size=5), st.sets(st.sampled_from(NODES)), some_nodes)
def test_all_steps_of_a_chunk_go_to_the_same_nodes(spec: list[Any], offline: set[str], allowed: list[str]) -> None:
    made = plan(spec)
    meta = ujson.loads(ujson.dumps(made.meta()))
    numbers = [[step["i"] for step in ujson.loads(chunk)] for chunk in made.chunks()]
    assert [number for chunk in numbers for number in chunk] == list(range(len(made.steps)))
    assert [chunk[0] for chunk in numbers] == [row["first"] for row in meta["chunks"]]
    assert all(1 <= len(chunk) <= MOST for chunk in numbers)
    old = ujson.loads(ujson.dumps(meta))
    run = new_run("j", meta, offline)
    for _ in range(len(meta["blocks"])):  # end all that is there until every run-once step has its node
        for node in run.nodes.values():
            run.end_range(node, 0, run.steps - 1, ord("S"), "")
        run.barriers.open()
        choose(run, lambda name: name not in offline)
    check_sets(run, numbers)
    nodes = nodes_by_step(run)
    for before, after in pairwise(numbers):
        kept = made.steps[before[-1]].choose is None and made.steps[after[0]].choose is None
        assert len(before) == MOST or not kept or nodes[before[-1]] != nodes[after[0]] or reordered(made, before, after)
    rest = plan_of({"meta": meta, "id": "j", "seeded": [], "succeeded": []}, frozenset(allowed), [])
    check_sets(new_run("k", ujson.loads(ujson.dumps(rest)), offline), numbers)
    assert old["chunks"] == rest["chunks"]


def reordered(made: Plan, before: list[int], after: list[int]) -> bool:
    """The same nodes in another order, which begin another chunk."""
    lists = [step.stage.nodes if step.nodes is None else step.nodes for step in made.steps]
    return lists[before[-1]] != lists[after[0]]


def test_chunks_of_few_steps_go_together() -> None:
    firsts = [0, 100, 101, 200, 256, 512, 513]
    chunks = Chunks([{"first": first, "contents": {}} for first in firsts], 600)
    ranges = [
        StepRange(*one) for one in ((0, 50), (51, 99), (101, 199), (200, 255), (300, 511), (512, 512), (513, 599))
    ]
    found = list(chunks.slices(ranges))
    assert [len(one) for one in found] == [4, 1, 2] and [one for some in found for one in some] == ranges
    assert not list(chunks.slices([]))


def test_places_of_steps() -> None:
    chunks = Chunks([{"first": first, "contents": {str(first): 1}} for first in (0, 3, 4)], 9)
    assert [chunks.first(step) for step in range(9)] == [0, 0, 0, 3, 4, 4, 4, 4, 4]
    assert [chunks.end(step) for step in range(9)] == [3, 3, 3, 4, 9, 9, 9, 9, 9]
    assert [list(chunks.contents(step)) for step in (2, 3, 8)] == [["0"], ["3"], ["4"]]

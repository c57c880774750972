"""Any sequence of operations gives the same answers from a file, from memory, and from the file opened again."""

from __future__ import annotations

import tempfile
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_ops import T0, accept, done, range_end, result, results

from director.errors import StoreError
from director.stores import open_store
from director.stores.contract import Store

JOBS, NODES, LETTERS = ("a1", "a2", "b1"), ("x", "y", "z"), "SCFTXELK"
job, node, step = st.sampled_from(JOBS), st.sampled_from(NODES), st.integers(0, 3)
chosen_rows = st.lists(
    st.builds(result, step, st.sampled_from(LETTERS), st.binary(max_size=3), st.binary(max_size=3)), max_size=3
)
operation = st.one_of(
    st.builds(
        accept,
        job,
        st.lists(node, min_size=1, unique=True).map(tuple),
        st.just(4),
        st.sampled_from("de"),
        st.floats(T0, T0 + 9),
        digests=st.lists(st.sampled_from(("f1", "f2")), unique=True),
    ),
    st.builds(lambda j, n, rows, late: results(j, n, *rows, late=late), job, node, chosen_rows, st.booleans()),
    st.builds(range_end, job, node, step, step, st.sampled_from(LETTERS)),
    st.builds(lambda j, n, cursor: ("cursors", {"job": j, "cursors": {n: cursor}}), job, node, step),
    st.builds(done, job, st.sampled_from(("running", "success", "failed", "odd"))),
    st.builds(
        lambda n, text: ("node", {"name": n, "labels": {"k": text}, "reason": text}),
        node,
        st.text(max_size=3),
    ),
    st.builds(lambda n: ("forget_node", {"name": n}), node),
    st.builds(lambda n, at: ("node_seen", {"seen": {n: at}}), node, st.floats(T0, T0 + 9)),
    st.builds(lambda ids: ("purge_jobs", {"ids": ids}), st.lists(job, max_size=2)),
    st.builds(lambda at, keep: ("prune", {"before": at, "keep": keep, "limit": 1}), st.floats(T0, T0 + 9), step),
)
batches = st.lists(st.lists(operation, min_size=1, max_size=6), min_size=1, max_size=6)


def outcome(store: Store, ops: list[Any]) -> str:
    try:
        store.apply(ops)
    except StoreError as error:
        return type(error).__name__
    return ""


def answers(store: Store) -> list[Any]:
    live = {"a1": {"state": "running", "tasks": {"total": 4}, "nodes": {"x": "qsrS"}}}
    filters: list[dict[str, Any]] = [
        {}, {"limit": 2}, {"state": ["failed", "queued"]}, {"since": T0 + 4},
        {"nodes": ["x", "y"], "limit": 1},
    ]  # fmt: skip
    open_jobs = list(store.open_jobs())
    for found in open_jobs:
        for known in found["nodes"].values():
            known["results"].sort()
    return [
        [store.list_jobs(each, live) for each in filters],
        list(store.export_jobs({})),
        list(store.export_jobs(live)),
        open_jobs,
        store.nodes(),
        store.blobs(),
        [store.find(name) for name in JOBS],
        [store.resume_record(name) for name in JOBS if store.find(name)],
        store.final_jobs({}),
    ]


@settings(max_examples=60, deadline=None)
@given(batches)
def test_file_and_memory_agree(steps: list[list[Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        memory, sqlite = open_store("memory:", folder), open_store("sqlite", folder)
        for ops in steps:
            assert outcome(memory, ops) == outcome(sqlite, ops)
            assert answers(memory) == answers(sqlite)
        before = answers(memory)
        sqlite.close()
        again = open_store("sqlite", folder)
        assert answers(again) == before
        again.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(operation, min_size=1, max_size=8))
def test_a_batch_that_is_applied_again_changes_nothing(ops: list[Any]) -> None:
    ops = [op for op in ops if op[0] not in ("prune", "purge_jobs", "forget_node")]
    ops.sort(key=lambda op: op[0] not in ("accept", "node"))  # jobs and nodes first, then what refers to them
    with tempfile.TemporaryDirectory() as folder:
        store = open_store("sqlite", folder)
        if not outcome(store, ops):
            before = answers(store)
            assert outcome(store, ops) == ""
            assert answers(store) == before
        store.close()

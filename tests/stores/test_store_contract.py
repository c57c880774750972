"""The contract of a store, tested with every store."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ledger_ops import SEAL, T0, accept, done, range_end, result, results, whole

from director.errors import NotFoundError, StoreError, UsageError
from director.protocol.framing import Cut
from director.stores import open_store
from director.stores.audit_chain import Head, read
from director.stores.contract import NODE_FIELDS, BadOperationError, DuplicateJobError, GoneJobError, Store


def info(store: Store, job: str, live: Any = None) -> Any:
    return json.loads(whole(store, job, live))


def listed(store: Store, live: Any = None, **filters: Any) -> list[str]:
    return [job["id"] for job in json.loads(store.list_jobs(filters, live or {}))]


def task(store: Store, job: str, step: int, node: str, live: Any = None) -> Any:
    return next(t for t in info(store, job, live)["steps"][step]["tasks"] if t["node"] == node)


def test_a_job_is_found_after_it_was_accepted(store: Store) -> None:
    assert store.find("j1") is None
    store.apply([accept("j1")])
    assert store.find("j1") == {"state": "queued", "digest": "d"}
    assert json.loads(store.chunk("j1", 0))[2]["text"] == "RUN echo 2"
    with pytest.raises(NotFoundError):
        store.chunk("j2", 0)


def test_the_same_submission_is_accepted_once(store: Store) -> None:
    store.apply([accept("j1")])
    store.apply([accept("j1", at=T0 + 50)])
    assert listed(store) == ["j1"]
    assert info(store, "j1")["created_at"] == "2026-09-21T14:13:20.000Z"


def test_what_was_sealed_is_kept_until_the_job_is_final(store: Store) -> None:
    store.apply([accept("j1"), SEAL])
    store.apply([accept("j1"), SEAL])
    found = {"box": "dGhlIGJveCBvZiBub2RlIGE=", "secrets": {"db": "dGhlIGVuY3J5cHRlZCBzZWNyZXQ="}}
    assert store.sealed("j1", "a") == found
    assert store.sealed("j1", "b") == store.sealed("j2", "a") == {"box": "", "secrets": {}}
    store.apply([("job", {"id": "j1", "state": "running"})])
    assert store.sealed("j1", "a") == found
    store.apply([done("j1")])
    store.apply([SEAL])
    assert store.sealed("j1", "a") == {"box": "", "secrets": {}}


def test_another_submission_with_the_same_id_is_refused_and_nothing_is_applied(store: Store) -> None:
    store.apply([accept("j1")])
    with pytest.raises(DuplicateJobError):
        store.apply([accept("j2"), accept("j1", digest="other"), ("node", {"name": "a"})])
    assert listed(store) == ["j1"]
    assert store.nodes() == []


def test_lines_of_the_audit_log_are_chained_once_each(store: Store) -> None:
    def line(stamp: int, run: str = "r") -> tuple[str, dict[str, Any]]:
        entry = {"event": "x", "stamp": stamp}
        return "audit", {"entry": entry, "nodes": ["b2", "b1", "b1"], "run": run, "stamp": stamp}

    assert store.audit_head() == Head() and store.audit_lines(0, 9) == []
    store.apply([line(1), ("node", {"name": "a"}), line(2)])
    store.apply([line(1), line(2), ("node", {"name": "a"}), line(3)])
    store.apply([line(1, "other"), ("audit", {"entry": {"event": "y"}})])
    rows = store.audit_lines(0, 9)
    assert [(number, json.loads(text)["number"]) for number, text in rows] == [(n, n) for n in range(1, 6)]
    assert [json.loads(text).get("stamp") for _, text in rows] == [1, 2, 3, 1, None]
    assert json.loads(rows[0][1])["nodes"] == "b[1-2]" and json.loads(rows[0][1])["node_count"] == 2
    head = Head()
    for number, text in rows:
        found = read(text.encode())
        assert found is not None and found.whole and (found.number, found.previous) == (number, head.hash)
        head = Head(found.number, found.hash)
    assert store.audit_head() == head
    store.apply([("audit_kept", {"number": 3})])
    assert [number for number, _ in store.audit_lines(0, 9)] == [4, 5] and store.audit_head() == head
    assert store.audit_lines(3, 1) == rows[3:4]
    store.apply([("audit_head", {"number": 70, "hash": "f" * 64}), line(2, "other"), line(3, "other")])
    assert [number for number, _ in store.audit_lines(0, 9)] == [71, 72]


def test_a_line_and_what_it_tells_of_are_written_both_or_none(store: Store) -> None:
    store.apply([accept("j1")])
    with pytest.raises(DuplicateJobError):
        store.apply([("audit", {"entry": {"event": "x"}}), accept("j1", digest="other")])
    with pytest.raises(BadOperationError):
        store.apply([accept("j2"), ("audit", {"entry": 5})])
    assert listed(store) == ["j1"] and store.audit_head() == Head()


def test_of_very_many_nodes_a_line_has_a_bounded_text(store: Store) -> None:
    names = [f"{number * 7919:x}-{number}.example" for number in range(10_000)]
    store.apply([("audit", {"entry": {"event": "x"}, "nodes": names})])
    ((_, text),) = store.audit_lines(0, 1)
    assert len(text) < 40_000 and json.loads(text)["node_count"] == 10_000 and "nodes_sha256" in text


def test_job_info_has_the_shape_of_the_contract(store: Store) -> None:
    store.apply([accept("j1"), ("cursors", {"job": "j1", "cursors": {"a": 3}})])
    store.apply([results("j1", "a", result(0, "F", b"out", b"\xff!", exit_code=3, reason="exit code 3"))])
    store.apply([range_end("j1", "a", 1, 2, "K", "step 0 failed")])
    store.apply([done("j1", "failed", counts={"total": 6, "failed": 1, "skipped": 2, "queued": 3})])
    found = info(store, "j1")
    assert {name: found[name] for name in found if name != "steps"} == {
        "id": "j1", "name": "exec", "kind": "exec", "state": "failed", "final": True, "step_count": 3,
        "node_count": 2, "created_at": "2026-09-21T14:13:20.000Z", "started_at": "2026-09-21T14:13:21.000Z",
        "finished_at": "2026-09-21T14:13:23.000Z", "duration": 2.0, "submitted_by": "root",
        "tasks": {"total": 6, "queued": 3, "sent": 0, "running": 0, "success": 0, "cached": 0, "failed": 1,
                  "timeout": 0, "cancelled": 0, "expired": 0, "lost": 0, "skipped": 2},
    }  # fmt: skip
    assert {name: value for name, value in found["steps"][0].items() if name != "tasks"} == {
        "index": 0, "number": 1, "verb": "RUN", "text": "RUN echo 0", "stage": 0, "name": "",
    }  # fmt: skip
    assert found["steps"][0]["tasks"][0] == {
        "node": "a", "state": "failed", "exit_code": 3, "stdout": "out", "stderr": "\ufffd!", "truncated": 0,
        "reason": "exit code 3", "started_at": "2026-09-21T14:13:21.000Z",
        "finished_at": "2026-09-21T14:13:21.500Z", "execution_time": 0.25, "roundtrip_time": 0.5,
        "attempt": 1, "late": None,
    }  # fmt: skip
    skipped = found["steps"][2]["tasks"][0]
    assert (skipped["state"], skipped["reason"], skipped["attempt"]) == ("skipped", "step 0 failed", 0)
    assert [t["state"] for t in found["steps"][1]["tasks"]] == ["skipped", "queued"]


def test_a_final_task_state_is_set_once(store: Store) -> None:
    store.apply([accept("j1"), results("j1", "a", result(0, "S", b"first"))])
    store.apply([results("j1", "a", result(0, "F", b"second")), range_end("j1", "a", 0, 1)])
    store.apply([range_end("j1", "a", 1, 2, "X", "cancelled by root")])
    states = [(task(store, "j1", i, "a")["state"], task(store, "j1", i, "a")["reason"]) for i in range(3)]
    assert states == [("success", ""), ("lost", "silent"), ("cancelled", "cancelled by root")]
    assert task(store, "j1", 0, "a")["stdout"] == "first"


def test_a_result_that_comes_again_is_not_late(store: Store) -> None:
    store.apply([accept("j1"), results("j1", "a", result(0)), done("j1")])
    store.apply([results("j1", "a", result(0), late=True)])
    assert task(store, "j1", 0, "a")["late"] is None


def test_a_late_result_of_what_the_node_was_not_given_is_ignored(store: Store) -> None:
    store.apply([accept("j1", cursors={"a": 1}), accept("j2", nodes=("c",), cursors={"c": 3})])
    given = [results("j1", "a", result(step, "S", b"x"), late=True) for step in (0, 1, -1, 1 << 40)]
    store.apply([*given, results("j1", "c", result(0), late=True), results("none", "a", result(0), late=True)])
    with store.view("j1") as view:
        assert [[found[0] for found in view.late_results(step)] for step in (0, 1, 1 << 40)] == [[0], [], []]


def test_a_result_after_a_range_end_is_late_and_changes_no_state(store: Store) -> None:
    store.apply([accept("j1", cursors={"a": 3, "b": 3}), range_end("j1", "a", 0, 2)])
    store.apply([results("j1", "a", result(0, "S", b"after all")), results("j1", "a", result(1), late=True)])
    store.apply([results("j1", "b", result(1, "L")), results("j1", "b", result(1, "F", b"", b"e"), late=True)])
    found = task(store, "j1", 0, "a")
    assert (found["state"], found["late"]["state"], found["late"]["stdout"]) == (
        "lost",
        "success",
        "after all",
    )
    assert task(store, "j1", 1, "a")["late"]["state"] == "success"
    assert task(store, "j1", 1, "b")["late"]["stderr"] == "e"
    assert task(store, "j1", 2, "a")["late"] is None


def test_applied_again_after_a_crash_is_the_same(store: Store) -> None:
    ops = [
        accept("j1"),
        results("j1", "a", result(0)),
        range_end("j1", "a", 0, 2),
        ("cursors", {"job": "j1", "cursors": {"a": 2}}),
    ]
    store.apply(ops)
    before = whole(store, "j1")
    store.apply(ops)
    assert whole(store, "j1") == before
    assert task(store, "j1", 0, "a")["late"] is None


def test_a_final_job_state_is_set_once(store: Store) -> None:
    store.apply([accept("j1"), done("j1", "failed")])
    store.apply([("job", {"id": "j1", "state": "success", "finished_at": T0 + 99, "counts": {"total": 1}})])
    assert (info(store, "j1")["state"], info(store, "j1")["duration"]) == ("failed", 2.0)
    assert info(store, "j1")["tasks"]["total"] == 6


def test_a_step_exists_only_where_its_block_says(store: Store) -> None:
    op = accept("j1")
    op[1]["meta"]["blocks"] = [
        {"first": 0, "last": 0, "stage": 0, "nodes": None},
        {"first": 1, "last": 1, "stage": 0, "nodes": ["b"]},
        {"first": 2, "last": 2, "stage": 0, "nodes": []},
    ]
    store.apply([op])
    assert [[t["node"] for t in step["tasks"]] for step in info(store, "j1")["steps"]] == [
        ["a", "b"],
        ["b"],
        [],
    ]
    assert info(store, "j1")["tasks"]["total"] == 3


def test_the_memory_of_the_server_beats_the_ledger_for_tasks_without_a_result(store: Store) -> None:
    store.apply([accept("j1"), results("j1", "a", result(0))])
    live = {
        "j1": {
            "state": "running",
            "tasks": {"total": 6, "success": 1, "running": 1, "sent": 1, "queued": 3},
            "started_at": T0 + 5,
            "nodes": {"a": "srs"},
            "running": {"a": {"1": T0 + 6}},
        }
    }
    found = info(store, "j1", live)
    assert (found["state"], found["tasks"]["running"], found["final"]) == ("running", 1, False)
    assert found["started_at"] == "2026-09-21T14:13:25.000Z"
    assert [task(store, "j1", i, "a", live)["state"] for i in range(3)] == ["success", "running", "sent"]
    assert task(store, "j1", 1, "a", live)["started_at"] == "2026-09-21T14:13:26.000Z"
    store.apply([done("j1", counts={"total": 6, "success": 6})])
    assert info(store, "j1", live)["state"] == "success"
    assert info(store, "j1", live)["tasks"]["success"] == 6


def test_listings_narrow_and_keep_the_newest_last(store: Store) -> None:
    for n in range(6):
        nodes = ("a", "b") if n % 2 else ("c",)
        store.apply([accept(f"j{n}", nodes, at=T0 + n)])
        if n < 4:
            store.apply([done(f"j{n}", "failed" if n == 2 else "success")])
    live = {"j4": {"state": "running", "tasks": {"total": 3, "running": 3}}}
    assert listed(store) == ["j0", "j1", "j2", "j3", "j4", "j5"]
    assert listed(store, limit=2) == ["j4", "j5"]
    assert listed(store, live, state=["running"]) == ["j4"]
    assert listed(store, live, state=["queued", "failed"]) == ["j2", "j5"]
    assert listed(store, live, state=["success"], limit=2) == ["j1", "j3"]
    assert listed(store, since=T0 + 4) == ["j4", "j5"]
    assert listed(store, since=T0 + 40) == []
    assert listed(store, nodes=["c"]) == ["j0", "j2", "j4"]
    assert listed(store, nodes=["c", "a"], limit=2, state=["success", "failed"]) == ["j2", "j3"]
    assert listed(store, nodes=[f"x{n}" for n in range(100)] + ["b"], limit=2) == ["j3", "j5"]
    assert listed(store, nodes=[]) == []
    assert listed(store, ids=["j5", "last", "j1"], state=["failed"], limit=1) == ["j1", "j5"]
    assert store.final_jobs({"nodes": ["c"]}) == ["j0", "j2"]


def test_ids_are_found_by_a_unique_prefix_or_last(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.resolve("last")
    store.apply([accept(job) for job in ("ab", "abc1", "abd2", "f0")])
    assert [store.resolve(name) for name in ("ab", "abc", "f", "last")] == ["ab", "abc1", "f0", "f0"]
    with pytest.raises(UsageError, match="ab, abc1, abd2"):
        store.resolve("a")
    for absent in ("", "x", "abc12"):
        with pytest.raises(NotFoundError):
            store.resolve(absent)
    with pytest.raises(NotFoundError):
        whole(store, "x")


def test_open_jobs_come_back_for_recovery(store: Store) -> None:
    store.apply([accept("old"), done("old"), accept("j1", cursors={"b": 1}), accept("j2")])
    store.apply([("cursors", {"job": "j1", "cursors": {"a": 3}}), ("cursors", {"job": "j1", "cursors": {"a": 2}})])
    store.apply([results("j1", "a", result(1, "F"), result(0))])
    store.apply([range_end("j1", "a", 2, 2, "K"), range_end("j1", "a", 0, 2)])
    changes = {"state": "running", "started_at": T0 + 1, "cancel_at": T0 + 2, "cancel_reason": "x"}
    store.apply([("job", {"id": "j1", **changes})])
    first, second = store.open_jobs()
    assert (first["id"], second["id"], second["state"]) == ("j1", "j2", "queued")
    assert first["nodes"] == {
        "a": {"cursor": 2, "results": [(0, "S"), (1, "F")], "range_ends": [(2, 2, "K"), (0, 2, "L")]},
        "b": {"cursor": 1, "results": [], "range_ends": []},
    }
    assert {name: first[name] for name in changes} == changes
    assert (first["options"], first["digest"]) == ({"timeout": 600.0}, "d")
    assert first["meta"]["stages"][0]["nodes"] == ["a", "b"]


def test_nodes_change_only_in_what_is_given(store: Store) -> None:
    store.apply([("node", {"name": "b"}), ("node", {"name": "a", "key": "K", "labels": {"t": "w"}, "facts": "{}"})])
    store.apply([("node", {"name": "a", "address": "10.0.0.1", "args": {"X": "1"}}), ("forget_node", {"name": "b"})])
    store.apply([("node_seen", {"seen": {"a": T0, "gone": T0}}), ("forget_node", {"name": "never"})])
    (node,) = store.nodes()
    given = {"name": "a", "key": "K", "address": "10.0.0.1", "labels": {"t": "w"}, "facts": "{}", "args": {"X": "1"}}
    assert {name: value for name, value in node.items() if value is not None} == {**given, "last_seen": T0}
    assert node.keys() == {"name", *NODE_FIELDS}


def test_a_token_is_replaced_as_a_whole(store: Store) -> None:
    store.apply([("token", {"id": "t2", "used": 0}), ("token", {"id": "t1", "labels": {"tier": "web"}})])
    store.apply([("token", {"id": "t2", "used": 1})])
    assert store.tokens() == [{"id": "t1", "labels": {"tier": "web"}}, {"id": "t2", "used": 1}]


def revoke(key: str, at: float, superseded: bool) -> Any:
    return "revoke_key", {"key": key, "name": "web", "reason": "r", "at": at, "superseded": superseded}


def test_a_revoked_key_stays_revoked(store: Store) -> None:
    store.apply([revoke("a", T0, True), revoke("b", T0, False)])
    store.apply([revoke("a", T0 + 1, False), revoke("b", T0 + 1, True)])
    assert [(row["key"], row["at"], row["superseded"]) for row in store.revoked_keys()] == [("a", T0, 0), ("b", T0, 0)]


def test_of_superseded_keys_the_newest_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("director.stores.sqlite_writer.SUPERSEDED", 2)
    store.apply([revoke("forbidden", 0.0, False), *(revoke(f"k{n}", T0 + n, True) for n in range(4))])
    assert [row["key"] for row in store.revoked_keys()] == ["forbidden", "k2", "k3"]


def test_purging_deletes_final_jobs_only_and_frees_their_blobs(store: Store) -> None:
    store.apply([accept("j1", digests={"f1": 10, "f2": 20}), accept("j2", digests=["f2", "f3"])])
    store.apply([results("j1", "a", result(0)), done("j1")])
    assert store.blobs() == {"f1", "f2", "f3"}
    store.apply([("purge_jobs", {"ids": ["j1", "j2", "gone"]})])
    assert (listed(store), store.blobs()) == (["j2"], {"f2", "f3"})
    store.apply(
        [
            results("j1", "a", result(1)),
            range_end("j1", "a", 0, 2),
            ("cursors", {"job": "j1", "cursors": {"a": 1}}),
            done("j1"),
        ]
    )
    store.apply([accept("j1", nodes=("z", "a"))])
    assert {t["state"] for step in info(store, "j1")["steps"] for t in step["tasks"]} == {"queued"}


def test_pruning_takes_small_steps_from_the_oldest(store: Store) -> None:
    for n in range(6):
        store.apply([accept(f"j{n}", at=T0 + n), *([] if n == 1 else [done(f"j{n}")])])
    assert store.prunable(T0 + 3, 100, 10) == ["j0", "j2"]
    assert store.prunable(0, 2, 10) == ["j0", "j2", "j3"]
    store.apply([("prune", {"before": T0 + 3, "keep": 2, "limit": 2})])
    assert listed(store) == ["j1", "j3", "j4", "j5"]
    store.apply([("prune", {"before": T0 + 3, "keep": 2, "limit": 2})])
    assert listed(store) == ["j1", "j4", "j5"]


def test_a_job_that_was_created_while_the_clock_was_behind_is_not_old(store: Store) -> None:
    for name, at in (("j0", T0), ("j1", T0 + 9), ("j2", T0 - 9e6), ("j3", T0 + 10)):
        store.apply([accept(name, at=at), done(name)])
    assert store.prunable(T0 + 5, 100, 10) == ["j0"]
    assert store.prunable(T0 + 9.5, 100, 10) == ["j0", "j1", "j2"]
    assert store.prunable(T0 + 11, 100, 10) == ["j0", "j1", "j2", "j3"]
    assert store.prunable(0, 3, 10) == ["j0"]


def test_a_resume_knows_what_succeeded_with_its_effects(store: Store) -> None:
    store.apply([accept("j1")])
    failed = result(2, "F", effects={"env": {}})
    store.apply([results("j1", "a", result(0, effects={"arg": {"X": "é"}}), result(1, "C"), failed)])
    store.apply([range_end("j1", "b", 0, 2), results("j1", "b", result(1), late=True), done("j1", "failed")])
    record = store.resume_record("last")
    assert record["succeeded"] == [("110", ["a"]), ("000", ["b"])]
    assert (record["seeded"], record["state"], record["options"]) == (["a"], "failed", {"timeout": 600.0})
    assert [(step, json.loads(text)) for step, text in store.effects("j1", "a")] == [(0, {"arg": {"X": "é"}})]
    assert store.effects("j1", "b") == store.effects("j1", "x") == store.effects("j9", "a") == []


def test_a_job_that_resumes_another_has_cached_what_succeeded_there(store: Store) -> None:
    rows = (result(0, "S", b"out", effects={"user": "u"}), result(1, "C"), result(2, "F"))
    store.apply([accept("j1"), results("j1", "a", *rows), done("j1", "failed")])
    name, fields, *_ = accept("j2")
    again = (name, {**fields, "digest": "other", "resumes": "j1"}, [])
    store.apply([again])
    store.apply([again])  # twice changes nothing
    assert store.chunk("j2", 0) == store.chunk("j1", 0)
    opened = next(store.open_jobs())["nodes"]
    assert (opened["a"]["results"], opened["b"]["results"]) == ([(0, "C"), (1, "C")], [])
    task = json.loads(whole(store, "j2"))["steps"][0]["tasks"][0]
    assert (task["state"], task["reason"], task["stdout"]) == ("cached", "succeeded in j1", "")
    store.apply([("purge_jobs", {"ids": ["j1"]})])
    assert store.effects("j2", "a") == [(0, '{"user":"u"}')]
    with pytest.raises(GoneJobError):
        store.apply([(name, {**fields, "id": "j3", "digest": "third", "resumes": "j1"}, [])])
    assert store.find("j3") is None


def test_exports_hold_whole_jobs(store: Store) -> None:
    store.apply([accept(f"j{n}") for n in range(3)])
    output = b"x" * (3 << 20)
    store.apply([results("j0", "a", result(0, "S", output)), results("j1", "b", result(0, "S", output))])
    text = b"".join(part if isinstance(part, Cut) else part + b"\n" for part in store.export_jobs({}))
    found = [json.loads(line) for line in text.splitlines()]
    assert [[job["id"] for job in jobs] for jobs in found] == [["j0", "j1"], ["j2"]]
    assert found[1] == [info(store, "j2")]
    parts = list(store.job_info("j0", {}))
    assert len(parts) > 1
    assert b"".join(parts) == whole(store, "j0")


def test_steps_of_several_chunks_come_in_order(store: Store) -> None:
    store.apply([accept("j1", ("a",), 600), results("j1", "a", *(result(i) for i in range(600)))])
    found = info(store, "j1")
    assert [step["index"] for step in found["steps"]] == list(range(600))
    assert [json.loads(store.chunk("j1", step))[0]["i"] for step in (0, 255, 256, 511, 599)] == [0, 0, 256, 256, 512]
    assert found["tasks"]["success"] == 600


@pytest.mark.parametrize(
    "bad",
    [
        ("nonsense", {}),
        ("accept", {"id": "j2"}),
        ("results", {"job": "j1", "node": "a", "results": [[0, "S"]]}, b""),
        results("j1", "a", result(0, "r")),
        results("j1", "a", result(0, "S", b"x", stdout_size=2)),
        ("range_ends", {"job": "j1", "items": [["a", 0, 1, "q", "", T0]]}),
        ("job", {"id": "j1", "state": "odd"}),
        ("node_seen", {}),
    ],
)
def test_what_makes_no_sense_is_refused_whole(store: Store, bad: Any) -> None:
    store.apply([accept("j1"), ("node", {"name": "a", "labels": {"x": "1"}})])
    before = whole(store, "j1"), store.nodes()
    with pytest.raises(BadOperationError):
        store.apply(
            [accept("j9"), results("j1", "a", result(1)), range_end("j1", "b", 0, 2),
             ("node", {"name": "a", "key": "K"}), ("cursors", {"job": "j1", "cursors": {"a": 3}}),
             ("forget_node", {"name": "a"}), bad]
        )  # fmt: skip
    assert (whole(store, "j1"), store.nodes()) == before
    store.apply([results("j1", "a", result(1))])
    assert task(store, "j1", 1, "a")["state"] == "success"


def test_text_that_is_no_unicode_is_kept_with_replacements(store: Store) -> None:
    store.apply([accept("j1", name="n\ud800é"), results("j1", "a", result(0, "F", reason="\udcffbad"))])
    store.apply([("job", {"id": "j1", "cancel_reason": "\ud800"}), ("node", {"name": "a", "reason": "\ud83d\ude00"})])
    assert info(store, "j1")["name"] == "n\ufffdé"
    assert task(store, "j1", 0, "a")["reason"] == "\ufffdbad"
    assert store.nodes()[0]["reason"] == "\U0001f600"


def test_unknown_stores_are_a_usage_error(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="sqlite"):
        open_store("redis://localhost", str(tmp_path))


def test_a_duplicate_is_a_store_error() -> None:
    assert issubclass(DuplicateJobError, StoreError)


def test_a_plan_may_change(store: Store) -> None:
    store.apply([accept("j1")])
    meta = {**next(store.open_jobs())["meta"], "stages": [], "blocks": []}
    store.apply([("plan", {"id": "j1", "meta": meta}), ("plan", {"id": "gone", "meta": {}})])
    store.apply([("plan", {"id": "j1", "meta": meta})])
    assert next(store.open_jobs())["meta"] == meta


def test_jobs_are_listed_and_exported_within_nodes(store: Store) -> None:
    store.apply([accept("j1"), accept("j2", nodes=("a",)), accept("j3", nodes=("a",), reads=["c"]), done("j3")])
    store.apply([accept("j4", nodes=("c",))])
    for names, found in [(["a"], ["j2"]), (["a", "c"], ["j2", "j3", "j4"]), ([], []), (["b"], [])]:
        assert listed(store, within=names) == found
        assert listed(store, within=names, state=["queued", "running", "success"]) == found
        assert listed(store, within=names, limit=1) == found[-1:]
        assert listed(store, within=names, ids=["j1", "j2", "j3", "j4"]) == found
        assert [job["id"] for part in store.export_jobs({}, names) for job in json.loads(part)] == found
    assert listed(store, within=["a", "c"], nodes=["a"]) == ["j2", "j3"]
    assert store.final_jobs({"within": ["a"]}) == [] and store.final_jobs({"within": ["a", "c"]}) == ["j3"]
    assert listed(store, within=["a", "b"]) == ["j1", "j2"] and listed(store, within=None) == ["j1", "j2", "j3", "j4"]


def test_what_jobs_reach(store: Store) -> None:
    store.apply([accept("j1"), accept("j2", nodes=("b",), reads=["c"]), done("j2")])
    assert [store.reach("j1"), store.reach("j2"), store.reached()] == [["a", "b"], ["b", "c"], ["a", "b", "c"]]
    store.apply([("purge_jobs", {"ids": ["j2"]})])
    assert store.reached() == ["a", "b"]
    with pytest.raises(NotFoundError):
        store.reach("j2")


def test_outputs_are_given_as_bytes(store: Store) -> None:
    store.apply([accept("j1"), results("j1", "a", result(0, out=b"\xff\n", err=b"e"), result(1, "F", reason="why"))])
    store.apply([results("j1", "b", result(0, out=b"b")), range_end("j1", "b", 1, 2)])
    store.apply([done("j1", "failed")])

    def rows(parts: Any) -> list[tuple[Any, ...]]:
        return [tuple(row[name] for name in ("step", "node", "state", "stdout", "stderr")) for row in parts]

    def every(*which: Any) -> list[tuple[Any, ...]]:
        return rows(row for part in store.outputs("j1", *which) for row in json.loads(part))

    first = (0, "a", "success", "/wo=", "ZQ==")
    assert every(None, None) == [first, (0, "b", "success", "Yg==", ""), (1, "a", "failed", "", "")]
    assert every(0, ["a"]) == [first] and every(2, None) == []
    count, _, found = store.outputs_of("j1", [(0, "a"), (1, "b"), (9, "x")]).partition(b"[")
    assert int(count) == 3 and rows(json.loads(b"[" + found)) == [first]
    large = results("j2", "a", *(result(step, out=b"x" * 700_000) for step in range(3)))
    store.apply([accept("j2"), large])
    assert store.outputs_of("j2", [(step, "a") for step in range(3)]).partition(b"[")[0] in (b"1", b"2")
    with pytest.raises(NotFoundError):
        list(store.outputs("none", None, None))


def test_the_tasks_of_a_node_and_what_did_not_end_well(store: Store) -> None:
    store.apply([accept("j1"), results("j1", "a", result(0), result(1, "F", reason="exit code 1"))])
    store.apply([range_end("j1", "a", 2, 2, "K", "step 2 failed"), range_end("j1", "b", 1, 2, "L", "silent")])
    store.apply([results("j1", "b", result(0))])
    found = store.node_tasks("j1", "a", {})
    assert [(row["number"], row["text"], row["state"], row["reason"]) for row in found] == [
        (1, "RUN echo 0", "success", ""), (2, "RUN echo 1", "failed", "exit code 1"),
        (3, "RUN echo 2", "skipped", "step 2 failed"),
    ]  # fmt: skip
    assert store.node_tasks("j1", "nobody", {}) == []
    groups = [(row["number"], row["state"], row["nodes"]) for row in store.node_tasks("j1", None, {})]
    assert groups == [(2, "failed", ["a"]), (2, "lost", ["b"]), (3, "skipped", ["a"]), (3, "lost", ["b"])]

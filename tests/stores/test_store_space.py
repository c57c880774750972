"""The space of purged jobs is freed in small steps, and files of older versions are migrated."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest
from ledger_ops import accept, done, range_end, result, results, steps, whole

from director.errors import StoreError
from director.stores import schema, sqlite_purge
from director.stores.sqlite import SqliteStore
from director.transfer.blobs import BlobStore
from director.workers.housekeeping import Housekeeper

NODES = tuple(f"n{number}" for number in range(60))


def fill(store: SqliteStore, job: str, steps: int = 200) -> None:
    """A job whose rows are larger than what is deleted at once."""
    store.apply([accept(job, NODES, steps)])
    for node in NODES:
        store.apply([results(job, node, *(result(step, out=b"x" * 2000) for step in range(steps)))])
    store.apply([done(job)])


def test_a_huge_job_is_purged_at_once_and_its_space_is_freed_later(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    store = SqliteStore(str(path))
    fill(store, "huge")
    store.apply([accept("small"), done("small")])
    assert len(NODES) * 200 > sqlite_purge.SMALL
    store.apply([("purge_jobs", {"ids": ["huge", "small"]})])
    assert store.list_jobs({}, {}) == b"[]"
    rows = sqlite3.connect(path).execute("SELECT COUNT(*) FROM results").fetchone()[0]
    assert rows == len(NODES) * 200, "its rows are still there"
    store.apply([accept("other", ("n1", "z")), results("other", "n1", result(0))])
    steps = 0
    while store.tidy():
        steps += 1
    assert steps > 3
    assert next(store.open_jobs())["nodes"]["n1"]["results"] == [(0, "S")]
    store.close()
    assert path.stat().st_size < 20 << 20
    tables = (*schema.OF_A_JOB, "names", "purged")
    left = {table: sqlite3.connect(path).execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in tables}
    held = {"results": 1, "chunks": 1, "plans": 1, "job_nodes": 2, "names": 2}
    assert left == {**dict.fromkeys(tables, 0), **held}


def test_of_many_jobs_only_some_rows_go_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_purge, "SMALL", 3)
    path = tmp_path / "ledger.sqlite"
    store = SqliteStore(str(path))
    for job in ("j1", "j2", "j3"):
        store.apply([accept(job, ("a",), 2), results(job, "a", result(0), result(1)), done(job)])
    store.apply([("prune", {"before": 9e9, "keep": 100, "limit": 100})])
    assert store.list_jobs({}, {}) == b"[]"
    count = "SELECT COUNT(*) FROM results"
    assert sqlite3.connect(path).execute(count).fetchone() == (4,), "the rows of one job are deleted, the others wait"
    while store.tidy():
        pass
    assert sqlite3.connect(path).execute(count).fetchone() == (0,)
    store.close()


def test_blobs_are_deleted_with_the_last_job_that_needs_them(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "ledger.sqlite"))
    blobs = BlobStore(str(tmp_path / "blobs"))
    kept, shared, orphan, fresh = (blobs.put_bytes(text)[0] for text in (b"kept", b"shared", b"orphan", b"fresh"))
    blobs.flush()
    for digest in (kept, shared, orphan):
        os.utime(blobs.path(digest), (1, 1))
    store.apply([accept("j1", digests={shared: 6}), done("j1"), accept("j2", digests={kept: 4, shared: 6}), done("j2")])
    housekeeper = Housekeeper(store, blobs)
    housekeeper.clean()
    assert [os.path.exists(blobs.path(digest)) for digest in (kept, shared, orphan, fresh)] == [True, True, False, True]
    store.apply([("purge_jobs", {"ids": ["j2"]})])
    housekeeper.clean()
    assert [os.path.exists(blobs.path(digest)) for digest in (kept, shared, fresh)] == [False, True, True]


def test_a_file_of_the_first_version_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    old = sqlite3.connect(path, isolation_level=None)
    schema.migrate(old, schema.MIGRATIONS[:1])
    assert schema.version_of(old) == 1
    old.close()
    store = SqliteStore(str(path))
    store.apply([accept("j1")])
    store.close()
    again = sqlite3.connect(path, isolation_level=None)
    assert schema.version_of(again) == len(schema.MIGRATIONS)
    again.execute("PRAGMA user_version = 99")
    again.close()
    with pytest.raises(StoreError, match="newer version"):
        SqliteStore(str(path))


def test_what_a_file_of_the_third_version_holds_is_still_there(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    db = sqlite3.connect(path, isolation_level=None)
    schema.migrate(db, schema.MIGRATIONS[:3])
    meta = {"blocks": [{"first": 0, "last": 3, "stage": 0}], "stages": [{"nodes": ["a"]}]}
    kept = ("", 0, 3, None, b"outerr")
    for statement, values in {
        "INSERT INTO jobs VALUES (1,'j1','n','exec','running',4,1,4,1,2,NULL,'root',NULL,'d',NULL,'')": (),
        "INSERT INTO plans VALUES (1,'{}',?)": (json.dumps(meta),),
        "INSERT INTO chunks VALUES (1,0,?)": (json.dumps(steps(4)).encode(),),
        "INSERT INTO names VALUES (7,'a')": (),
        "INSERT INTO job_nodes VALUES (1,0,7,3)": (),
        "INSERT INTO results VALUES (1,7,0,'S',0,1,2,1,1,1,?,?,?,?,?)": kept,
        "INSERT INTO late VALUES (1,7,1,'F',1,1,2,1,1,1,?,?,?,?,?)": kept,
        "INSERT INTO rests VALUES (1,1,7,1,1,'L','silent',3)": (),
        "INSERT INTO digests VALUES (1,'f1',6)": (),
        "INSERT INTO nodes (name, mark) VALUES ('a', 5)": (),
    }.items():
        db.execute(statement, values)
    db.close()
    store = SqliteStore(str(path))
    tasks = [step["tasks"][0] for step in json.loads(whole(store, "j1"))["steps"]]
    assert [task["state"] for task in tasks] == ["success", "lost", "sent", "queued"]
    assert (tasks[0]["stdout"], tasks[0]["stderr"], tasks[1]["late"]["stderr"]) == ("out", "err", "err")
    assert (store.blobs(), store.nodes()[0]["journal_position"]) == ({"f1"}, 5)
    store.apply([range_end("j1", "a", 1, 1, "X"), results("j1", "a", result(1)), done("j1")])
    assert whole(store, "j1").count(b'"lost"') == 2  # once as a count, once as the state
    store.apply([("purge_jobs", {"ids": ["j1"]})])
    assert store.blobs() == set()
    store.close()

"""The space of purged jobs is freed in small steps."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from ledger_ops import accept, done, result, results

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

"""What only the file has: kills, a full disk, damage, other versions, readers beside the writer."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from ledger_ops import SEAL, accept, done, range_end, result, results, whole

from director.errors import StoreError
from director.stores import schema, wal
from director.stores.contract import BadOperationError
from director.stores.sqlite import SqliteStore

WRITER = Path(__file__).with_name("ledger_writer.py")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.sqlite")


@pytest.fixture
def store(path: str) -> Iterator[SqliteStore]:
    opened = SqliteStore(path)
    yield opened
    opened.close()


def kill_at_some_moment(path: str, first: int, batches: int, delay: float) -> int:
    """Run the writer, kill it `delay` seconds after `batches` answers; the last number it acknowledged."""
    child = subprocess.Popen(
        [sys.executable, str(WRITER), path, str(first)],
        env={**os.environ, "PYTHONPATH": str(WRITER.parents[2])},
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    for _ in range(batches):
        assert child.stdout.readline()
    timer = threading.Timer(delay, child.kill)
    timer.start()
    lines = child.stdout.read().split()
    child.stdout.close()
    assert child.wait() < 0
    timer.join()
    return int(lines[-1]) if lines else first + batches - 1


def check_job(store: SqliteStore, n: int) -> None:
    found = json.loads(whole(store, f"j{n:06}"))
    assert (found["state"], found["tasks"]["total"], len(found["steps"])) == ("failed", 120, 60)
    states = [task["state"] for step in found["steps"] for task in step["tasks"]]
    assert (states.count("success"), states.count("lost")) == (40, 80)


def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged(path: str) -> None:
    chance = random.Random(7)
    first, known = 0, 0
    for _ in range(10):
        last = kill_at_some_moment(path, first, chance.randint(1, 4), chance.random() * 0.05)
        log = wal.read(path)
        assert log is not None and not log.damaged
        with sqlite3.connect(path) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        db.close()
        store = SqliteStore(path)
        for n in range(known, last + 1):
            if n % 5 == 4:
                assert store.find(f"j{n:06}") is None
            else:
                check_job(store, n)
        store.close()
        known, first = last + 1, last + 1  # the next writer applies the unfinished batch again


def test_a_full_disk_is_said_plainly_and_changes_nothing(store: SqliteStore) -> None:
    store.apply([accept("j1")])
    before = whole(store, "j1")
    pages = store._connections.write.execute("PRAGMA page_count").fetchone()[0]
    store._connections.write.execute(f"PRAGMA max_page_count = {pages + 5}")
    more = [results("j1", "a", result(0)), accept("j2"), results("j1", "b", result(0, "S", b"x" * 100_000))]
    with pytest.raises(StoreError, match="is full"):
        store.apply(more)
    assert (whole(store, "j1"), store.find("j2")) == (before, None)
    store._connections.write.execute("PRAGMA max_page_count = 100000")
    store.apply(more)
    assert json.loads(whole(store, "j1"))["tasks"]["success"] == 2


def test_a_damaged_file_is_said_plainly(store: SqliteStore, path: str, tmp_path: Path) -> None:
    store.apply([accept(f"j{n}", count=200) for n in range(20)])
    store.close()
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.seek(4096 * 40)  # behind the definitions of the tables
        file.write(os.urandom(size - 4096 * 40))
    broken = SqliteStore(path)
    with pytest.raises(StoreError, match=r"is damaged|cannot be used"):
        broken.list_jobs({}, {})
    broken.close()
    other = tmp_path / "other.sqlite"
    other.write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreError, match="is not a ledger"):
        SqliteStore(str(other))


def test_a_folder_that_is_not_there_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be"):
        SqliteStore(str(tmp_path / "no" / "ledger.sqlite"))


def test_the_file_is_private(store: SqliteStore, path: str) -> None:
    store.apply([accept("j1")])
    for name in (path, path + "-wal", path + "-shm"):
        assert stat.S_IMODE(os.stat(name).st_mode) == 0o600


@pytest.mark.parametrize(("version", "age"), [(schema.EARLIER - 1, "an earlier"), (schema.VERSION + 1, "a newer")])
def test_a_file_of_another_version_is_refused_with_a_remedy_and_left_alone(path: str, version: int, age: str) -> None:
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(StoreError, match=f"^{age} version of Director wrote the ledger .*--new-ledger"):
        SqliteStore(path)
    with closing(sqlite3.connect(path)) as db:
        assert schema.version_of(db) == version


def test_a_ledger_of_the_version_before_gets_what_it_lacks_and_keeps_all_else(path: str) -> None:
    store = SqliteStore(path)
    store.apply([accept("j1"), ("node", {"name": "a", "key": "k"})])
    store.close()
    with closing(sqlite3.connect(path)) as db:  # as it was made then
        for table in ("audit", "audit_head", "secrets", "boxes"):
            db.execute(f"DROP TABLE {table}")
        db.execute("ALTER TABLE nodes DROP COLUMN sealing")
        db.execute(f"PRAGMA user_version = {schema.EARLIER}")
    store = SqliteStore(path)
    assert store.nodes()[0]["key"] == "k" and store.nodes()[0]["sealing"] is None
    store.apply([("audit", {"entry": {"event": "x"}}), ("node", {"name": "a", "sealing": "s"}), SEAL])
    assert store.find("j1") and store.audit_head().number == 1
    assert store.sealed("j1", "a")["box"] and store.nodes()[0]["sealing"] == "s"
    assert schema.version_of(store._connections.write) == schema.VERSION
    store.close()


def test_what_was_sealed_is_not_left_in_the_file(path: str) -> None:
    store = SqliteStore(path)
    store.apply([accept("j1"), SEAL])
    store.apply([done("j1")])
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert all(part not in Path(path).read_bytes() for part in SEAL[2])


def test_tables_are_made_all_or_none(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "TABLES", (*schema.TABLES, schema.Table("wrong", "no columns (")))
    with pytest.raises(StoreError):
        SqliteStore(path)
    monkeypatch.undo()
    SqliteStore(path).close()


def test_every_table_of_a_job_is_emptied_with_it(store: SqliteStore) -> None:
    store.apply([accept("j1", digests=["f1"]), results("j1", "a", result(0)), range_end("j1", "a", 0, 2)])
    store.apply([results("j1", "a", result(0), late=True), done("j1"), ("purge_jobs", {"ids": ["j1"]})])
    tables = [
        name for (name,) in store._connections.write.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    ]
    assert set(schema.OF_A_JOB) < set(tables)
    assert {
        name: store._connections.write.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in tables
    } == dict.fromkeys(tables, 0)


def test_free_pages_are_returned_to_the_disk(store: SqliteStore) -> None:
    store.apply([accept("j1"), results("j1", "a", result(0, "S", b"x" * 4_000_000)), done("j1")])
    pages = store._connections.write.execute("PRAGMA page_count").fetchone()[0]
    store.apply([("purge_jobs", {"ids": ["j1"]})])
    assert store._connections.write.execute("PRAGMA page_count").fetchone()[0] < pages / 10


def test_a_value_no_column_holds_is_a_bad_operation(store: SqliteStore) -> None:
    store.apply([accept("j1")])
    for bad in (result(0, exit_code=1 << 70), result(0, truncated=None), result(None)):  # type: ignore[arg-type]
        with pytest.raises(BadOperationError):
            store.apply([results("j1", "a", result(1)), results("j1", "a", bad)])
    assert json.loads(whole(store, "j1"))["tasks"]["success"] == 0


def test_readers_see_whole_applies_while_a_writer_writes(store: SqliteStore) -> None:
    store.apply([accept("j1", ("a", "b"), 400)])
    failed: list[BaseException] = []

    def write() -> None:
        try:
            for step in range(0, 400, 4):
                both = [result(step + k) for k in range(4)]
                store.apply([results("j1", "a", *both), results("j1", "b", *both)])
        except BaseException as error:
            failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while seen < 800 and not failed:
        found = json.loads(whole(store, "j1"))
        now = found["tasks"]["success"]
        assert now % 8 == 0 and now >= seen
        states = [task["state"] for step in found["steps"] for task in step["tasks"]]
        assert states.count("success") == now
        seen = now
    writer.join()
    assert not failed


def test_an_export_that_is_given_up_holds_nothing(store: SqliteStore) -> None:
    store.apply([accept(f"j{n}") for n in range(3)])
    store.apply([results("j0", "a", result(0, "S", b"x" * (5 << 20)))])
    export, parts = store.export_jobs({}), store.job_info("j0", {})
    next(export), next(parts)
    store.apply([done("j0"), ("purge_jobs", {"ids": ["j0"]})])
    assert len(b"".join(parts)) > 1000
    export.close()  # type: ignore[attr-defined]
    busy = store._connections.write.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    assert busy == 0

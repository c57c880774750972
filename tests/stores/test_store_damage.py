"""Damage of the write-ahead log: told from a torn end, copied, and the ledger opened at a state that can be proven."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from ledger_ops import accept, done, result, results

from director.errors import StoreError
from director.stores import wal
from director.stores.sqlite import SqliteStore

ENDINGS = ("", "-wal", "-shm")


class Ledger:
    """A store, and copies of its files as a crash would leave them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = SqliteStore(str(folder / "ledger.sqlite"))
        self.store._connections.write.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the tables are in the database
        self.count = 0
        self.copies = 0

    def write(self, jobs: int) -> None:
        """One transaction a job."""
        for _ in range(jobs):
            self.count += 1
            job = f"j{self.count:03}"
            self.store.apply([accept(job), results(job, "a", result(0, "S", b"o" * 3000)), done(job)])

    def checkpoint(self) -> None:
        """Copy all of the log to the database; the log file stays."""
        assert self.store._connections.write.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[0] == 0

    def crash(self, shm: bool = False) -> Path:
        """The database as a loss of power leaves it, with `shm` as a killed process does."""
        self.copies += 1
        copy = self.folder / f"copy-{self.copies}"
        copy.mkdir()
        for ending in ENDINGS if shm else ENDINGS[:2]:
            shutil.copy(self.folder / f"ledger.sqlite{ending}", copy)
        return copy / "ledger.sqlite"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    yield made
    made.store.close()


def flip(path: str, at: int) -> None:
    """Change the byte at this offset."""
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def jobs_by_sqlite(path: Path) -> list[str]:
    """The jobs that SQLite alone finds in a copy of these files."""
    folder = path.parent / "aside"
    folder.mkdir()
    for ending in ENDINGS[:2]:
        shutil.copy(f"{path}{ending}", folder)
    with closing(sqlite3.connect(folder / path.name)) as db:
        found = [job for (job,) in db.execute("SELECT id FROM jobs ORDER BY seq")]
    shutil.rmtree(folder)
    return found


def opened(path: Path) -> tuple[str, list[str]]:
    """The reported loss, and the jobs that are left."""
    with closing(SqliteStore(str(path))) as store:
        return store.lost(), list(store.ids())


def kept(path: Path) -> list[Path]:
    """The folders with copies of damaged files."""
    return sorted(path.parent.glob("ledger.damaged-*"))


def read(path: Path) -> wal.Log:
    log = wal.read(str(path))
    assert log is not None
    return log


def test_a_whole_log_is_read_as_sqlite_reads_it(ledger: Ledger) -> None:
    ledger.write(12)
    path = ledger.crash(shm=True)
    log = read(path)
    assert log.header and not log.damaged and log.whole == log.committed == len(log.frames)
    assert opened(path) == ("", [f"j{n:03}" for n in range(1, 13)]) and kept(path) == []


def test_an_end_that_is_cut_off_anywhere_is_torn_and_cut_back(ledger: Ledger) -> None:
    ledger.write(6)
    dice = random.Random(5)
    size = os.path.getsize(ledger.folder / "ledger.sqlite-wal")
    for _ in range(10):
        path = ledger.crash()
        os.truncate(f"{path}-wal", dice.randrange(size))
        expected = jobs_by_sqlite(path)
        assert opened(path) == ("", expected) and kept(path) == []


def test_a_flipped_byte_in_front_of_later_commits_is_damage(ledger: Ledger) -> None:
    ledger.write(8)
    ends = read(ledger.crash()).commits
    dice = random.Random(6)
    for _ in range(12):
        path = ledger.crash()
        log = read(path)
        at = dice.randrange(log.end_of(0), log.end_of(ends[-2]))
        flip(f"{path}-wal", at)
        shutil.copy(f"{path}-wal", path.parent / "as-it-was")
        whole = jobs_by_sqlite(path)
        lost, left = opened(path)
        assert f"its last {sum(at < log.end_of(end) for end in ends)} transactions" in lost
        assert left == whole and len(left) < 8
        assert (kept(path)[0] / "ledger.sqlite-wal").read_bytes() == (path.parent / "as-it-was").read_bytes()
        assert (kept(path)[0] / "ledger.sqlite").exists() and len(kept(path)) == 1


def test_a_newest_transaction_that_is_broken_is_torn_unless_it_is_known_to_have_been_on_disk(ledger: Ledger) -> None:
    ledger.write(5)
    for shm in (False, True):
        path = ledger.crash(shm)
        log = read(path)
        flip(f"{path}-wal", log.page_at(log.commits[-2] + 1) + 7)
        lost, left = opened(path)
        assert ("last 1 transactions" in lost, len(left), len(kept(path))) == (shm, 4, int(shm))


def test_a_log_that_was_cut_shorter_than_what_was_on_disk_is_damage(ledger: Ledger) -> None:
    ledger.write(5)
    path = ledger.crash(shm=True)
    os.truncate(f"{path}-wal", read(path).end_of(read(path).commits[-3]))
    lost, left = opened(path)
    assert "damaged" in lost and len(left) == 3


def test_a_flipped_byte_in_the_header_loses_all_of_the_log_and_says_so(ledger: Ledger) -> None:
    ledger.write(3)
    ledger.checkpoint()
    ledger.write(4)  # a new generation, shorter than the one before
    for at in (1, 9, 13, 17, 25):
        path = ledger.crash()
        flip(f"{path}-wal", at)
        lost, left = opened(path)
        assert "its last 4 transactions" in lost and len(left) == 3


def test_frames_of_earlier_generations_count_for_nothing(ledger: Ledger) -> None:
    ledger.write(9)
    ledger.checkpoint()
    ledger.write(2)
    path = ledger.crash()
    log = read(path)
    assert not log.damaged and log.chain == log.whole < len(log.frames)
    flip(f"{path}-wal", log.end_of(log.whole + 3))
    assert opened(path) == ("", [f"j{n:03}" for n in range(1, 12)]) and kept(path) == []


def test_what_is_written_after_a_torn_end_has_nothing_behind_it(ledger: Ledger) -> None:
    """Else the rest of the torn transaction, of the same generation, would look like a later one."""
    ledger.store.apply([accept("j0")])
    big = [accept(f"big{n}", count=200) for n in range(40)]
    ledger.store.apply(big)
    path = ledger.crash()
    log = read(path)
    flip(f"{path}-wal", log.page_at(log.commits[-2] + 1))
    again = SqliteStore(str(path))
    again.apply([accept("j1")])
    again.apply([accept("j2")])
    shutil.copytree(path.parent, path.parent / "second")
    again.close()
    second = path.parent / "second" / path.name
    assert not read(second).damaged and opened(second) == ("", ["j0", "j1", "j2"])


def test_a_damaged_log_that_is_in_the_database_already_loses_nothing(ledger: Ledger) -> None:
    """SQLite alone would replace newer pages of the database by older ones of the log."""
    ledger.write(8)
    ledger.checkpoint()
    for share in (0.02, 0.3, 0.6, 0.98):
        path = ledger.crash()
        flip(f"{path}-wal", int(os.path.getsize(f"{path}-wal") * share))
        assert opened(path) == ("", [f"j{n:03}" for n in range(1, 9)]) and len(kept(path)) == 1


def test_a_checkpoint_that_a_reader_held_up_needs_the_log_that_it_was_made_of(ledger: Ledger) -> None:
    """It copies no page changed since the reader began, so the database alone mixes states of several moments."""
    ledger.write(6)
    with ledger.store.view("j001"):
        ledger.write(6)
        ledger.store._connections.write.execute("PRAGMA wal_checkpoint(PASSIVE)")
        behind, in_front = ledger.crash(), ledger.crash()
    log = read(behind)
    least, most = wal.copied(log, str(behind))
    assert 0 < least <= log.commits[5] and most <= least
    flip(f"{behind}-wal", log.page_at(log.commits[8] + 1))
    lost, left = opened(behind)
    assert "its last 3 transactions" in lost and left == [f"j{n:03}" for n in range(1, 10)]
    flip(f"{in_front}-wal", log.page_at(log.commits[2] + 1))
    for _ in range(2):
        with pytest.raises(StoreError, match=r"no state of it can be proven.*--new-ledger"):
            SqliteStore(str(in_front))
    assert len(kept(in_front)) == 1


def test_files_that_are_no_database_and_no_log_are_said_plainly(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    for name in (path, f"{path}-wal", f"{path}-shm"):
        Path(name).write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreError, match=r"is not a ledger.*--new-ledger"):
        SqliteStore(str(path))


def test_a_loss_is_told_at_every_start_until_it_is_settled(ledger: Ledger) -> None:
    ledger.write(8)
    path = ledger.crash()
    flip(f"{path}-wal", os.path.getsize(f"{path}-wal") // 2)
    first, second = opened(path), opened(path)
    assert "damaged" in first[0] and first == second
    with closing(SqliteStore(str(path))) as store:
        store.settle()
        assert store.lost() == ""
    assert opened(path)[0] == ""

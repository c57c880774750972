"""The files of the audit log over a real store: begun, removed, repaired, and compared with what the ledger knows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from director.stores import open_store
from director.stores.contract import Store
from director.workers.audit_files import Cursor
from director.workers.audit_keeper import AuditKeeper

SMALL = 2000  # bytes of a file


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store("sqlite", str(tmp_path))
    yield opened
    opened.close()


def add(store: Store, count: int) -> None:
    """Lines for the log."""
    store.apply([("audit", {"entry": {"at": "t", "event": "x"}, "nodes": [f"n{n}", "web"]}) for n in range(count)])


def keeper(store: Store, folder: Path, size: int = 1 << 20, count: int = 9) -> AuditKeeper:
    """One that has written all there is."""
    made = AuditKeeper(store, str(folder), size, count)
    assert made.step()
    return made


def files(folder: Path) -> list[Path]:
    """The files of the log, the oldest first."""
    return sorted((folder / "audit").glob("audit-*.jsonl"))


def events(folder: Path) -> list[dict[str, Any]]:
    """All lines of the log."""
    return [json.loads(line) for path in files(folder) for line in path.read_text().splitlines()]


def faults(kept: AuditKeeper) -> list[tuple[int, str]]:
    """Number and text of each fault."""
    return [(fault["number"], fault["fault"]) for fault in kept.check()["faults"]]


def test_lines_come_into_files_of_a_bounded_size(store: Store, tmp_path: Path) -> None:
    kept = keeper(store, tmp_path, SMALL)
    for _ in range(40):
        add(store, 2)
        assert kept.step()
    assert len(files(tmp_path)) > 4 and all(path.stat().st_size < 2 * SMALL for path in files(tmp_path))
    assert [event["number"] for event in events(tmp_path)] == list(range(1, 81))
    assert events(tmp_path)[0]["nodes"] == "n0,web" and events(tmp_path)[0]["node_count"] == 2
    assert kept.check() == {
        "lines": 80, "first": 1, "last": 80, "files": len(files(tmp_path)), "waiting": 0, "more": 0, "faults": [],
    }  # fmt: skip
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files(tmp_path))
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o700


def test_old_files_are_removed_and_the_chain_goes_on(store: Store, tmp_path: Path) -> None:
    kept = keeper(store, tmp_path, SMALL, 3)
    for _ in range(60):
        add(store, 1)
        assert kept.step()
    first = json.loads(files(tmp_path)[0].read_text().splitlines()[0])["number"]
    assert len(files(tmp_path)) == 3 and first > 1
    assert [event["last"] for event in events(tmp_path) if event["event"] == "files-removed"][-1] == first - 1
    assert faults(kept) == [] and faults(keeper(store, tmp_path, SMALL, 3)) == []
    files(tmp_path)[0].unlink()
    ((number, text),) = faults(kept)
    assert number == 1 and text.endswith("missing at the beginning")


def test_the_ledger_forgets_lines_that_are_in_files(store: Store, tmp_path: Path) -> None:
    add(store, 2500)
    kept = keeper(store, tmp_path)
    assert store.audit_lines(0, 10_000) == []
    add(store, 1)
    assert kept.step() and len(store.audit_lines(0, 10_000)) == 1
    assert faults(kept) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda rows: [*rows[:3], rows[3].replace("n3", "n7"), *rows[4:]], [(4, "was changed")]),
        (lambda rows: [*rows[:3], *rows[4:]], [(4, "is missing")]),
        (lambda rows: [*rows[:3], rows[4], rows[3], *rows[5:]], [(4, "is out of order: it stands behind line 5")]),
        (lambda rows: rows[:-1], [(10, "is missing at the end")]),
        (lambda rows: rows[1:], [(1, "is missing at the beginning")]),
        (lambda rows: [], [(1, "and the lines up to 10 are missing at the end")]),
    ],
)
def test_what_was_changed_is_found_at_once_and_after_a_start(
    store: Store, tmp_path: Path, change: Callable[[list[str]], list[str]], found: list[tuple[int, str]]
) -> None:
    add(store, 10)
    kept = keeper(store, tmp_path)
    (path,) = files(tmp_path)
    path.write_text("".join(f"{row}\n" for row in change(path.read_text().splitlines())))
    assert faults(kept) == found
    store.apply([("audit_kept", {"number": 10})])
    again = keeper(store, tmp_path)
    assert [number for number, _ in faults(again)] == [number for number, _ in found]


def test_a_line_cut_off_by_a_crash_is_written_again(store: Store, tmp_path: Path) -> None:
    add(store, 3)
    keeper(store, tmp_path)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    for cut in (1, 40, len(whole.splitlines()[2]), len(whole.splitlines()[2]) + 1, len(whole)):
        path.write_bytes(whole[: len(whole) - cut])
        kept = keeper(store, tmp_path)
        assert faults(kept) == []
        assert b"".join(one.read_bytes() for one in files(tmp_path)).startswith(whole)
    said = [event for event in events(tmp_path) if event["event"] == "unfinished-line-removed"]
    assert [event["bytes"] for event in said] == [len(whole.splitlines()[2]), len(whole.splitlines()[2]) - 39, 1]


def test_a_lost_end_is_written_down(store: Store, tmp_path: Path) -> None:
    add(store, 5)
    keeper(store, tmp_path)
    store.apply([("audit_kept", {"number": 5})])
    (path,) = files(tmp_path)
    path.write_text("".join(f"{row}\n" for row in path.read_text().splitlines()[:3]))
    kept = keeper(store, tmp_path)
    assert events(tmp_path)[-1] | {"first": 4, "last": 5, "event": "lines-missing"} == events(tmp_path)[-1]
    assert faults(kept) == [(4, "and the lines up to 5 are missing")]


def test_a_changed_end_is_written_down(store: Store, tmp_path: Path) -> None:
    add(store, 5)
    keeper(store, tmp_path)
    (path,) = files(tmp_path)
    path.write_text(path.read_text().replace("n4", "n7"))
    kept = keeper(store, tmp_path)
    assert faults(kept) == [(5, "was changed")]


def test_an_older_ledger_goes_on_behind_the_files(store: Store, tmp_path: Path) -> None:
    add(store, 5)
    keeper(store, tmp_path)
    other = open_store("memory:", str(tmp_path))
    kept = keeper(other, tmp_path)
    add(other, 1)
    assert kept.step() and faults(kept) == []
    assert [(event["number"], event["event"]) for event in events(tmp_path)][5:] == [(6, "ledger-older"), (7, "x")]
    assert (events(tmp_path)[5]["ledger"], events(tmp_path)[5]["files"]) == (0, 5)


def test_a_file_that_was_removed_is_not_written_any_more(store: Store, tmp_path: Path) -> None:
    add(store, 3)
    kept = keeper(store, tmp_path)
    files(tmp_path)[0].unlink()
    add(store, 1)
    assert kept.step()
    assert [path.name for path in files(tmp_path)] == ["audit-000000000004.jsonl"]
    assert faults(kept) == [(1, "and the lines up to 3 are missing at the beginning")]


def test_a_folder_that_was_removed_is_made_again(store: Store, tmp_path: Path) -> None:
    add(store, 3)
    kept = keeper(store, tmp_path)
    shutil.rmtree(tmp_path / "audit")
    assert faults(kept) == [(1, "and the lines up to 3 are missing at the end")]
    add(store, 1)
    assert kept.step()
    assert faults(kept) == [(1, "and the lines up to 3 are missing at the beginning")]


def test_files_that_cannot_be_written_are_tried_again(store: Store, tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("in the way")
    kept = AuditKeeper(store, str(tmp_path), SMALL, 3)
    assert not kept.step() and "cannot be written" in kept.trouble
    add(store, 2)
    assert not kept.step()
    (tmp_path / "audit").unlink()
    assert kept.step() and kept.trouble == "" and faults(kept) == []
    assert len(events(tmp_path)) == 2


def test_a_cursor_reads_each_durable_line_once(store: Store, tmp_path: Path) -> None:
    kept = keeper(store, tmp_path, SMALL)
    cursor = Cursor(kept.files, 0)
    found: list[int] = []
    for _ in range(30):
        add(store, 3)
        assert kept.step()
        while rows := cursor.read(500):
            found += [number for number, _ in rows]
    assert found == list(range(1, 91)) and cursor.read(1) == []
    assert [number for number, _ in Cursor(kept.files, 70).read(1 << 20)] == list(range(71, 91))
    assert Cursor(kept.files, 500).read(1) == []

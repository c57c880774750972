"""Files are written beside their places, flushed together, and get their names at once or never."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from director.transfer import file_batch
from director.transfer.file_batch import EACH, Batch
from director.transfer.safe_write import Walk


def put(batch: Batch, walk: Walk, path: Path, text: bytes = b"new", mode: int = 0o644) -> None:
    """Write a file that gets its name later."""
    folder = batch.hold(str(path.parent), walk.open(str(path.parent)))
    new = batch.begin(folder, path.name, -1, -1, mode)
    new.write(text)
    batch.end(new)


@pytest.mark.parametrize("count", [1, EACH, EACH + 1, 5 * EACH])
def test_names_come_at_the_end(tmp_path: Path, count: int) -> None:
    (tmp_path / "0").write_bytes(b"old")
    before = len(os.listdir("/proc/self/fd"))
    with Walk() as walk, Batch() as batch:
        for number in range(count):
            put(batch, walk, tmp_path / f"{number}", b"%d" % number, 0o640)
        assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == ["0"]
        assert (tmp_path / "0").read_bytes() == b"old"
        assert len(os.listdir("/proc/self/fd")) < before + EACH + 10
        batch.finish()
        assert sorted(os.listdir(tmp_path)) == sorted(map(str, range(count)))
    assert (tmp_path / f"{count - 1}").read_bytes() == b"%d" % (count - 1)
    assert stat.S_IMODE((tmp_path / "0").stat().st_mode) == 0o640
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # of the loop's thread


def test_what_is_not_committed_is_removed(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(KeyError), Walk() as walk, Batch() as batch:
        put(batch, walk, tmp_path / "f")
        batch.begin(batch.hold(str(tmp_path), walk.open(str(tmp_path))), "half", -1, -1, 0o644).write(b"ha")
        raise KeyError
    assert os.listdir(tmp_path) == ["f"] and (tmp_path / "f").read_bytes() == b"old"


def test_a_name_that_cannot_be_given_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    with Walk() as walk, Batch() as batch, pytest.raises(IsADirectoryError):
        for name in ("0", "1", "2"):
            put(batch, walk, tmp_path / name)
        batch.finish()
    with Walk() as walk, Batch() as batch:
        for name in ("0", "1", "2"):
            put(batch, walk, tmp_path / name)
        with pytest.raises(IsADirectoryError):
            batch.commit()
    assert sorted(os.listdir(tmp_path)) == ["0", "1"]


def test_the_last_of_two_files_with_one_name_counts(tmp_path: Path) -> None:
    with Walk() as walk, Batch() as batch:
        put(batch, walk, tmp_path / "f", b"first")
        put(batch, walk, tmp_path / "f", b"second")
        batch.finish()
    assert (tmp_path / "f").read_bytes() == b"second" and os.listdir(tmp_path) == ["f"]


def test_many_folders_are_held_open_for_a_while_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_batch, "FOLDERS", 10)
    before = len(os.listdir("/proc/self/fd"))
    with Walk() as walk, Batch() as batch:
        for number in range(200):
            if batch.is_full:
                batch.commit()
            put(batch, walk, tmp_path / f"{number}/f")
        assert len(os.listdir("/proc/self/fd")) < before + 64 + 10 + EACH + 5
        batch.finish()
    assert len(list(tmp_path.glob("*/f"))) == 200


def test_a_large_file_goes_to_disk_while_it_is_written(tmp_path: Path) -> None:
    data = os.urandom(1 << 20)
    with Walk() as walk, Batch() as batch:
        new = batch.begin(batch.hold("", walk.open(str(tmp_path))), "large", -1, -1, 0o644)
        for _ in range(20):
            new.write(data)
        batch.end(new)
        batch.finish()
    assert (tmp_path / "large").read_bytes() == data * 20

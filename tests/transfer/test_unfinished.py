"""What a killed client has left half-written is removed at its next start, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from harness import ROOT

from director.transfer.file_batch import Batch
from director.transfer.safe_write import Walk
from director.transfer.unfinished import Unfinished

KILLED = """
import os, signal, sys
from director.transfer.file_batch import Batch
from director.transfer.safe_write import Walk
from director.transfer.unfinished import Unfinished
record, *paths = sys.argv[1:]
with Walk() as walk, Batch(Unfinished(record)) as batch:
    for path in paths:
        above, name = os.path.split(path)
        batch.begin(batch.hold(above, walk.open(above)), name, -1, -1, 0o644).write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_start_removes_it(tmp_path: Path) -> None:
    record, others = (
        tmp_path / "record",
        [".x.director-123", "f.director-0123456789ab", ".f.director-0123456789ag", "f"],
    )
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for name in others:
            (tmp_path / folder / name).write_text("of somebody else")
    words = [sys.executable, "-c", KILLED, str(record), *[f"{tmp_path}/{name}" for name in ("a/f", "a/new", "b/n\nl")]]
    assert subprocess.run(words, cwd=ROOT, check=False).returncode == -9
    assert len(os.listdir(tmp_path / "a")) == 6
    (tmp_path / "b").rename(tmp_path / "c")  # it cannot be found any more
    assert Unfinished(str(record)).remove() == 2
    assert sorted(os.listdir(tmp_path / "a")) == sorted(others)
    assert record.read_bytes() == b"" and Unfinished(str(record)).remove() == 0
    assert Unfinished(str(tmp_path / "none")).remove() == 0


def test_nothing_is_kept_of_steps_that_ended(tmp_path: Path) -> None:
    record = tmp_path / "record"
    unfinished = Unfinished(str(record))
    with Walk() as walk, Batch(unfinished) as batch:
        batch.hold(str(tmp_path), walk.open(str(tmp_path)))
        with Batch(unfinished) as other:
            other.hold(str(tmp_path), walk.open(str(tmp_path)))
        assert record.read_bytes() == os.fsencode(tmp_path) + b"\0" and record.stat().st_mode & 0o777 == 0o600
    assert record.read_bytes() == b""

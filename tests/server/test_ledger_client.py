"""The ledger client with a real ledger process: no durable write is lost, and the order is kept."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT

from director.stores import open_store

SCRIPT = Path(__file__).with_name("ledger_client.py")


def run(folder: Path, mode: str, store: str = "sqlite") -> Any:
    """What the script prints; the folder is made."""
    folder.mkdir(exist_ok=True)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), store, mode],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_ledger_that_is_killed_loses_nothing_and_keeps_the_order(tmp_path: Path) -> None:
    found = run(tmp_path / "s", "killed")
    assert found["kills"] >= 1
    assert found["ordered"]
    assert found["positions"] == {f"n{number}": 2900 + number for number in range(100)}


@pytest.mark.parametrize("store", ["sqlite", "memory:"])
def test_queries_and_refusals(tmp_path: Path, store: str) -> None:
    found = run(tmp_path / "s", "answers", store)
    assert found["found"] == {"state": "queued", "digest": "d"}
    assert found["none"] is None
    assert found["chunk"].replace(" ", "") == "[]"
    assert [(job["state"], job["nodes"]["n"]["cursor"]) for job in found["open"]] == [("running", 1)]
    assert found["error"] == "NotFoundError"
    assert "another job" in found["refused"]
    assert "cannot keep" in found["malformed"], "nobody is told that it is on disk"
    assert found["nodes"] == ["x"], "a write after a refused one is there"


@pytest.mark.slow
def test_more_may_wait_for_the_disk_than_fits_in_a_frame(tmp_path: Path) -> None:
    found = run(tmp_path / "s", "large")
    assert found["done"][:40] == [None] * 40 and found["done"][41] is None
    assert "too large" in found["done"][40], "a single write that is larger than any frame is refused"
    assert (found["nodes"], found["room"]) == (41, True)


def test_slow_readers_take_no_memory_and_delay_no_other_query(tmp_path: Path) -> None:
    found = run(tmp_path / "s", "slow")
    assert (found["found"], found["sizes"]) == ("d", 8)
    assert found["most"] < 20 << 20 < found["whole"]


def test_an_orderly_end_waits_for_all_writes(tmp_path: Path) -> None:
    run(tmp_path / "s", "stopped")
    store = open_store("sqlite", str(tmp_path / "s"))
    assert len(store.nodes()) == 500
    store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def can_mount() -> bool:
    """Whether this user may mount here, which is often forbidden in containers."""
    with contextlib.suppress(OSError):
        return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0 and os.geteuid() == 0
    return False


if can_mount():

    def test_a_full_disk_refuses_jobs_and_keeps_results_waiting(small_disk: Path) -> None:
        found = run(small_disk / "s", "full")
        assert found == {"refused": 1, "waited": True, "done": [None], "nodes": ["n"], "stuck": ""}

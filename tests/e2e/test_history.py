"""What becomes of old jobs: forgotten by themselves in order, and the room they held comes back."""

from __future__ import annotations

import os
from collections.abc import Callable

from harness import Fleet, wait_until


def test_history_is_bounded_by_count_and_by_age(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.start_server("--history", "10s", "--history-jobs", "3")
    fleet.start_client("node-1")
    fleet.wait_online(["node-1"])
    jobs = [fleet.run_json("--exec", f"RUN echo {n}", "--wait")["id"] for n in range(5)]
    listed = wait_until(lambda: len(ids := [row["id"] for row in fleet.run_json("--list-jobs")]) <= 3 and ids, "three")
    assert set(listed) <= set(jobs[2:])
    running = fleet.submit("--exec", f"RUN until test -e {fleet.folder}/go; do sleep 0.2; done")
    wait_until(lambda: [row["id"] for row in fleet.run_json("--list-jobs")] == [running], "old ones go, open ones stay")
    (fleet.folder / "go").touch()
    wait_until(lambda: fleet.run_json("--list-jobs") == [], "it goes too, once it is final")
    assert fleet.director("--job-info", running).returncode == 6
    assert fleet.director("--resume", running).returncode == 6


def test_purged_jobs_give_their_files_and_pages_back(fleet: Fleet) -> None:
    fleet.start_client("node-1")
    fleet.wait_online(["node-1"])
    (fleet.folder / "source").write_bytes(os.urandom(1000))
    out = "RUN head -c 800000 /dev/urandom | base64 -w0 | head -c 1000000"
    fleet.run_json("--exec", f"COPY source {fleet.folder}/there\n" + f"{out}\n" * 20, "--wait")
    ledger = next((fleet.folder / "server").rglob("*.sqlite*"))
    blobs = [path for path in (fleet.folder / "server").rglob("*") if path.is_file() and len(path.name) == 64]
    assert len(blobs) == 1
    os.utime(blobs[0], (1, 1))
    assert fleet.director("--purge-jobs").returncode == 0
    assert fleet.run_json("--list-jobs") == []
    wait_until(lambda: not blobs[0].exists(), "the content that nobody needs is gone")
    assert ledger.exists()

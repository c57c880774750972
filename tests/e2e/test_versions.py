"""A peer that speaks another version of the protocol is told so, on both sides, and nothing is misunderstood."""

from __future__ import annotations

import json
from collections.abc import Callable

from harness import Fleet, tasks_of, wait_until

from director.protocol.messages import VERSION


def test_a_client_of_another_version_is_refused_in_plain_words(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.start_server()
    folder = fleet.folder / "newer"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import director.protocol.messages\ndirector.protocol.messages.VERSION += 1\n"
    )
    path = f"{folder}:{fleet.environment['PYTHONPATH']}"
    fleet.start_client("node-1", env={"PYTHONPATH": path, "DIRECTOR_IDENTITY": "node-1"})
    said = f"the server speaks protocol {VERSION}, this client {VERSION + 1}; install"
    wait_until(lambda: said in fleet.log("node-1"), "the client says what to do")
    wait_until(
        lambda: f"speaks protocol {VERSION + 1}, this server {VERSION}" in fleet.log("server"), "so does the server"
    )
    assert fleet.nodes().get("node-1", {"state": "offline"})["state"] != "online"
    fleet.start_client("node-2")
    fleet.wait_online(["node-2"])


def test_a_ledger_of_a_newer_version_is_left_alone(new_fleet: Callable[..., Fleet]) -> None:
    import sqlite3

    fleet = new_fleet()
    fleet.start_server()
    assert fleet.stop("server") == 0
    found = (fleet.folder / "server").rglob("*.sqlite*")
    ledger = next(path for path in found if not path.name.endswith(("-wal", "-shm")))
    with sqlite3.connect(ledger) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    fleet.spawn("server", fleet.commands["server"])
    assert fleet.processes["server"].wait(120) == 1
    assert "newer version of Director" in fleet.log("server")


def test_a_job_larger_than_any_frame_is_exported(fleet: Fleet) -> None:
    fleet.start_client("node-1", "--concurrency", "8")
    fleet.wait_online(["node-1"])
    big = "RUN head -c 1048576 /dev/zero | tr '\\0' '\\001'"  # six characters each in JSON
    job = fleet.run_json("--exec", f"{big}\n" * 12, "--wait", timeout=120)
    fleet.run_json("--exec", "RUN echo small", "--wait")
    assert fleet.director("--export-jobs", "all.json", timeout=120).returncode == 0
    assert (fleet.folder / "all.json").stat().st_size > 64 << 20
    jobs = json.loads((fleet.folder / "all.json").read_text())
    assert [row["id"] == job["id"] for row in jobs] == [True, False]
    assert [len(task["stdout"]) for task in tasks_of(jobs[0])] == [1 << 20] * 12

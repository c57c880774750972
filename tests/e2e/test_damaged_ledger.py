"""A server whose ledger was damaged while it was down: it says so, runs nothing twice, and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from harness import ROOT, Fleet, tasks_of, wait_until

from director.errors import DirectorError
from director.library.connection import Connection
from director.stores import wal


def folder_of(fleet: Fleet) -> Path:
    """The server's private folder."""
    return fleet.folder / "server" / "server"


def crash(fleet: Fleet) -> None:
    """Kill the server and its workers at one moment, so that the log stays as it is."""
    os.killpg(fleet.pid("server"), signal.SIGSTOP)
    for pid in [*fleet.workers("ledger"), *fleet.workers("planner"), *fleet.workers("files"), fleet.pid("server")]:
        os.kill(pid, signal.SIGKILL)
    fleet.processes["server"].wait(120)
    path = str(folder_of(fleet) / "ledger.sqlite")
    wait_until(lambda: fleet.processes["server"].poll() is not None and wal.read(path), "the server is gone")


def flip_behind(fleet: Fleet, commit: int) -> None:
    """Change a byte of the log behind the transaction that ends at this frame."""
    path = folder_of(fleet) / "ledger.sqlite"
    log = wal.read(str(path))
    assert log is not None and not log.damaged and log.commits[-1] > commit
    with open(f"{path}-wal", "r+b") as file:
        file.seek(log.page_at(commit + 1) + 100)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def backup(fleet: Fleet) -> str:
    """What scripts/backup says when it refuses."""
    command = [sys.executable, str(ROOT / "scripts/backup"), str(fleet.folder / "server"), str(fleet.folder / "copy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and not (fleet.folder / "copy").exists()
    return done.stderr


def submit_again(fleet: Fleet, job: str) -> None:
    """As a command does whose server died before it answered."""
    settings: Any = SimpleNamespace(
        socket_path=str(fleet.socket_path), state_dir=str(fleet.folder), server_timeout=60.0
    )
    file = {"id": job, "kind": "exec", "name": "exec", "form": "auto", "text": "RUN true", "folder": str(fleet.folder)}
    with Connection(settings) as link:
        link.ask({"do": "submit", "files": [file], "options": {}, "again": True})


def last_commit(fleet: Fleet) -> int:
    """The frame at which the newest transaction ends now."""
    log = wal.read(str(folder_of(fleet) / "ledger.sqlite"))
    assert log is not None
    return log.whole


def states(fleet: Fleet, job: str) -> dict[tuple[int, str], str]:
    return {(task["step"], task["node"]): task["state"] for task in tasks_of(fleet.job(job))}


def test_what_cannot_be_proven_is_lost_and_is_not_run_again(fleet: Fleet) -> None:
    fleet.wait_online(fleet.start_clients(2))
    ran, go = fleet.folder / "ran", fleet.folder / "go"
    before = fleet.run_json("--exec", "RUN true", "--wait")
    text = f"RUN until test -e {go}; do sleep 0.05; done\nRUN echo $DIRECTOR_NODE >> {ran}"
    under_way = fleet.submit("--exec", text)
    wait_until(lambda: set(states(fleet, under_way).values()) == {"running", "sent"}, "the first step runs")
    proven = last_commit(fleet)
    go.touch()
    assert fleet.wait_job(under_way)["state"] == "success"
    gone = fleet.run_json("--exec", "RUN true", "--wait")["id"]
    crash(fleet)
    flip_behind(fleet, proven)
    assert "ledger.sqlite-wal is damaged; start the server" in backup(fleet)
    fleet.restart("server")
    assert fleet.job(before["id"]) == before
    assert fleet.director("--job-info", gone).returncode == 6
    fleet.wait_online(["node-1", "node-2"])
    known = fleet.wait_job(under_way)
    assert known["state"] == "failed" and set(states(fleet, under_way).values()) == {"lost"}
    assert all("was damaged" in task["reason"] for task in tasks_of(known))
    assert len(ran.read_text().split()) == 2, "nothing ran twice"
    log = fleet.log("server")
    assert "the log of the ledger" in log and "4 open tasks of 1 jobs are lost" in log
    kept = next(folder_of(fleet).glob("ledger.damaged-*"))
    assert (kept / "ledger.sqlite-wal").stat().st_size and (kept / "ledger.sqlite").stat().st_size
    assert fleet.run_json("--exec", "RUN true", "--wait")["state"] == "success"
    with pytest.raises(DirectorError, match=f"whether {gone} was accepted and ran is not known"):
        submit_again(fleet, gone)
    fleet.kill("server")
    fleet.restart("server")
    assert fleet.log("server").count("open tasks of") == 1, "it is told once"
    assert fleet.job(under_way)["state"] == "failed"


def test_a_ledger_process_that_finds_damage_ends_the_server(fleet: Fleet) -> None:
    """What the server remembers is no longer what the ledger holds: only a new start makes them one again."""
    fleet.wait_online(fleet.start_clients(1))
    for _ in range(4):
        fleet.run_json("--exec", "RUN true", "--wait")
    proven = last_commit(fleet)
    for _ in range(2):
        fleet.run_json("--exec", "RUN true", "--wait")
    os.kill(fleet.pid("server"), signal.SIGSTOP)
    ledger = fleet.workers("ledger")[0]
    os.kill(ledger, signal.SIGKILL)
    wait_until(lambda: Path(f"/proc/{ledger}/stat").read_text().rpartition(")")[2].split()[0] == "Z", "it has ended")
    flip_behind(fleet, proven)
    os.kill(fleet.pid("server"), signal.SIGCONT)
    assert fleet.processes["server"].wait(120) == 1
    assert "the next start of the server says what became of open jobs" in fleet.log("server")
    fleet.restart("server")
    assert "open tasks of" in fleet.log("server")


def test_a_server_without_its_ledger_or_key_does_not_start(fleet: Fleet) -> None:
    fleet.wait_online(fleet.start_clients(1))
    fleet.run_json("--exec", "RUN true", "--wait")
    fleet.stop("server")
    (folder_of(fleet) / "ledger.sqlite").write_bytes(b"")
    fleet.spawn("server", fleet.commands["server"])
    assert fleet.processes["server"].wait(120) == 1
    assert "ledger.sqlite is missing or empty; restore it from a backup, or begin anew with --new-ledger" in fleet.log(
        "server"
    )
    (folder_of(fleet) / "ledger.sqlite").unlink()
    fleet.start_server("--new-ledger")
    fleet.wait_online(["node-1"])  # the key is the old one: the client enrols again
    assert fleet.run_json("--exec", "RUN true", "--wait")["state"] == "success"
    assert len(fleet.run_json("--list-jobs")) == 1


def test_a_server_with_a_ledger_in_memory_starts_again(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.start_server("--store", "memory:")
    fleet.wait_online(fleet.start_clients(1))
    fleet.run_json("--exec", "RUN true", "--wait")
    fleet.stop("server")
    fleet.restart("server")
    fleet.wait_online(["node-1"])
    assert fleet.run_json("--exec", "RUN true", "--wait")["state"] == "success"


def test_planners_that_are_ready_before_the_ledger_know_every_node(new_fleet: Callable[..., Fleet]) -> None:
    """A ledger that is mended takes its time."""
    fleet = new_fleet()
    fleet.start_server("--workers", "1", "--log-level", "debug")
    fleet.wait_online(fleet.start_clients(1))
    for name in ("node-1", "server"):
        fleet.stop(name)
    before = fleet.log("server").count("worker ready")
    fleet.spawn("server", fleet.commands["server"])
    ledger = wait_until(lambda: fleet.workers("ledger"), "the ledger is started", every=0.002)[0]
    os.kill(ledger, signal.SIGSTOP)
    wait_until(lambda: fleet.log("server").count("worker ready") > before, "the planner is ready")
    os.kill(ledger, signal.SIGCONT)
    fleet.wait_server()
    assert fleet.director("--exec", "RUN true", "--target", "node-1").returncode == 0

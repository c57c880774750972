"""No descriptor, thread or process to be had: callers are told, nothing spins, and it goes on when there are some.

The bounds are those of one process (`prlimit`). That of processes and threads holds for no root: who is to feel it runs
as a user of its own, and keeps of root's rights only to read the checkout.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from harness import ROOT, Fleet, cpu_seconds, wait_until

FIRST_USER = 61_000  # of users that nobody else has on the machine
DESCRIPTORS = 64
WATCHED = 5.0  # seconds


def as_user(number: int, *more: str) -> list[str]:
    """Words before a command that run it as a user of its own."""
    kept = "-all,+dac_override"
    user = str(FIRST_USER + os.getpid() % 1000 * 4 + number)
    rights = [f"--inh-caps={kept}", f"--ambient-caps={kept}", f"--bounding-set={kept}"]
    return [*more, "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *rights]


def threads_of_user(pid: int) -> int:
    """How many threads the user of the process has on this machine, as the bound counts them."""
    user, threads = os.stat(f"/proc/{pid}").st_uid, 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            threads += len(os.listdir(folder / "task")) if folder.stat().st_uid == user else 0
    return threads


def limit_threads(pid: int, most: int) -> None:
    """Let this process of the bounded server start nothing when its user has `most` threads already."""
    subprocess.run([*as_user(0), "prlimit", f"--pid={pid}", f"--nproc={most}:"], check=True)


def free_threads(pid: int) -> None:
    """Take the bound back."""
    limit_threads(pid, resource.getrlimit(resource.RLIMIT_NPROC)[1])


@pytest.fixture
def crowded(new_fleet: Callable[..., Fleet]) -> Fleet:
    """A server that refuses more nodes, as it has no descriptors for them. No node is lost to a slow beat."""
    fleet = new_fleet(beat="10s")
    fleet.bounds["server"] = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    fleet.start_server()
    ports = ["--port", str(fleet.port), "--enroll-port", str(fleet.enroll_port)]
    words = [sys.executable, "-m", "simulation", str(DESCRIPTORS), *ports, "--processes", "1"]
    with open(fleet.folder / "nodes.log", "wb") as log:
        fleet.processes["nodes"] = subprocess.Popen(
            words, cwd=ROOT / "scripts", env=fleet.environment, stdout=log, stderr=log
        )
    wait_until(lambda: "refused: the server has nearly all" in fleet.log("server"), "a node is refused")
    return fleet


def test_at_the_limit_of_descriptors_operators_are_served_and_nothing_spins(crowded: Fleet) -> None:
    states = [node["state"] for node in crowded.nodes().values()]
    assert 0 < len(states) < DESCRIPTORS
    assert crowded.director("--exec", "RUN true", "--wait").returncode == 0
    assert quiet_share(crowded) < 0.2
    assert "Traceback" not in crowded.log("server")


def test_a_caller_for_whom_there_is_no_descriptor_is_told_so(crowded: Fleet) -> None:
    with ExitStack() as callers:

        def refused() -> subprocess.CompletedProcess[str] | None:
            caller = callers.enter_context(socket.socket(socket.AF_UNIX))
            caller.connect(str(crowded.socket_path))
            asked = crowded.director("--list-nodes")
            return asked if asked.returncode else None

        last = wait_until(refused, "a caller is refused")
        assert last.returncode == 1 and not last.stdout
        assert f"nearly all of the {DESCRIPTORS} descriptors" in last.stderr
        assert quiet_share(crowded) < 0.2
    wait_until(lambda: crowded.director("--list-nodes").returncode == 0, "the descriptors are free again")
    assert "Traceback" not in crowded.log("server")


def quiet_share(fleet: Fleet) -> float:
    """The share of a core the server takes in a time in which nobody asks it and it lets no node in.

    AssertionError: it logs more about refusals and errors than a line in two seconds.
    """

    def watch() -> tuple[float] | None:
        seen, used, begun = len(fleet.log("server")), cpu_seconds(fleet.pid("server")), time.monotonic()
        time.sleep(WATCHED)
        used, seconds = cpu_seconds(fleet.pid("server")) - used, time.monotonic() - begun
        lines = fleet.log("server")[seen:].splitlines()
        others = [line for line in lines if not line.endswith(" is online") and " is enrolled with " not in line]
        assert len(others) <= 3 + seconds / 2, others
        return (used / seconds,) if others == lines else None

    assert fleet.log("server").count(" refused: ") >= 1
    (share,) = wait_until(watch, "no node is let in for some seconds", 120.0)
    return share


@pytest.fixture
def bounded(new_fleet: Callable[..., Fleet]) -> Fleet:
    """A server of a user of its own."""
    fleet = new_fleet()
    give(fleet, "server", 0)
    fleet.bounds["server"] = as_user(0)
    fleet.folder.chmod(0o777)  # its socket is there
    fleet.start_server()
    return fleet


def give(fleet: Fleet, name: str, number: int) -> None:
    """Let the state folder be the user's."""
    user = FIRST_USER + os.getpid() % 1000 * 4 + number
    Path(fleet.folder, name).mkdir()
    os.chown(fleet.folder / name, user, user)


def test_a_query_for_which_no_thread_can_be_had_fails_alone(bounded: Fleet) -> None:
    bounded.start_client("node-1")
    bounded.wait_online(["node-1"])
    job = bounded.submit("--exec", "RUN true")
    assert bounded.wait_job(job)["state"] == "success"
    (ledger,) = bounded.workers("ledger")
    limit_threads(ledger, 1)
    failed = bounded.director("--job-info", job)
    assert failed.returncode == 1 and "can't start new thread; try again" in failed.stderr
    assert bounded.run_json("--list-jobs")[0]["id"] == job
    free_threads(ledger)
    assert bounded.job(job)["state"] == "success"
    assert bounded.workers("ledger") == [ledger]


ASKING = {"ledger": ("--list-jobs", "the ledger process is away"), "planner": ("--plan", "no planner process could")}


@pytest.mark.parametrize("kind", ASKING)
def test_a_worker_for_which_no_process_can_be_had_is_started_later(bounded: Fleet, kind: str) -> None:
    limit_threads(bounded.pid("server"), 1)
    before = bounded.workers(kind)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "cannot be started: Resource temp" in bounded.log("server"), "it could not be started")
    assert bounded.nodes() == {}
    option, why = ASKING[kind]
    asked = bounded.director(option, *(["--exec", "RUN true"] if kind == "planner" else []))
    assert asked.returncode == 1 and why in asked.stderr
    assert not bounded.workers(kind)
    free_threads(bounded.pid("server"))
    wait_until(lambda: len(bounded.workers(kind)) == len(before), "they are back")
    assert bounded.director("--plan", "--exec", "RUN true").returncode == 5, "there is no node, which a planner says"
    assert bounded.run_json("--list-jobs") == []
    assert "Traceback" not in bounded.log("server")


def test_a_ledger_without_its_threads_ends_and_is_started_again(bounded: Fleet) -> None:
    """The limit is inherited, so the new process begins and then has no thread."""
    server, (ledger,) = bounded.pid("server"), bounded.workers("ledger")
    allowed = 0

    def refused() -> bool:
        """Allow one process and no thread more than there are now: a thread of the server may have come since.

        The command that sets the bound is a process of this user too, so it runs only when there is something to set.
        """
        nonlocal allowed
        if allowed != threads_of_user(server) + 1:
            allowed = threads_of_user(server) + 1
            limit_threads(server, allowed)
        return "can't start new thread" in bounded.log("server")

    refused()
    os.kill(ledger, signal.SIGKILL)
    wait_until(refused, "it has no thread")
    free_threads(server)
    wait_until(lambda: bounded.director("--list-jobs").returncode == 0, "it answers")
    assert "Traceback" not in bounded.log("server")


@pytest.mark.parametrize("threads", [1, 2])
def test_a_client_that_has_no_thread_ends_with_a_reason(fleet: Fleet, threads: int) -> None:
    """It needs one for itself and two for its connection."""
    fleet.folder.chmod(0o711)
    give(fleet, "node-1", 1)
    fleet.bounds["node-1"] = as_user(1, "prlimit", f"--nproc={threads}:{threads}")
    fleet.start_client("node-1")
    assert fleet.processes["node-1"].wait(120) == 1
    assert "can't start new thread" in fleet.log("node-1").splitlines()[-1]
    assert "Traceback" not in fleet.log("node-1")


def test_a_client_without_a_thread_to_look_its_server_up_tries_again(fleet: Fleet) -> None:
    fleet.folder.chmod(0o711)
    give(fleet, "node-1", 1)
    fleet.bounds["node-1"] = as_user(1, "prlimit", "--nproc=3:")
    fleet.start_client("node-1")
    wait_until(lambda: "can't start new thread; trying again" in fleet.log("node-1"), "it has no thread")
    most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    subprocess.run([*as_user(1), "prlimit", f"--pid={fleet.processes['node-1'].pid}", f"--nproc={most}:"], check=True)
    fleet.wait_online(["node-1"])
    assert "Traceback" not in fleet.log("node-1")

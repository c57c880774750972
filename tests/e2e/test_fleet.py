"""What the fleet promises, shown with real processes: forty nodes, silence, kills of every kind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT, Fleet, children_of, cpu_seconds, is_alive, tasks_of, wait_until

STEPS = 200


# scripts/fleet


class ScriptedFleet:
    """Forty clients and a server, all started by scripts/fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.place = fleet.folder / "forty"

    def script(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run scripts/fleet on this fleet's folder and ports."""
        command = [str(ROOT / "scripts/fleet"), "--folder", str(self.place), *args]
        return subprocess.run(
            command, env=self.fleet.environment, capture_output=True, text=True, timeout=150, check=False
        )

    def start(self) -> list[str]:
        """Start server and clients, and return the nodes' names when all are online."""
        fleet = self.fleet
        address = ["--server-address", f"127.0.0.1:{fleet.port}", "--enroll-port", str(fleet.enroll_port)]
        options = ["--socket-path", str(fleet.socket_path), "--heartbeat-interval", "1s", "--prefix", "n-"]
        done = self.script("40", "--with-server", "--detach", *address, *options)
        assert done.returncode == 0, done.stderr
        return [f"n-{i}" for i in range(1, 41)]

    def pids(self) -> dict[str, int]:
        """Process ids by name, as the script has noted them."""
        rows = [line.split() for line in (self.place / "pids").read_text().splitlines()]
        return {name: int(pid) for pid, _, name in rows}


@pytest.fixture
def forty(new_fleet: Callable[..., Fleet]) -> Iterator[ScriptedFleet]:
    scripted = ScriptedFleet(new_fleet())
    yield scripted
    scripted.script("--stop")


def test_forty_clients_answer_and_the_one_that_fails_is_named(forty: ScriptedFleet) -> None:
    names = forty.start()
    fleet = forty.fleet
    job = fleet.run_json("--exec", "RUN echo hello from $(hostname) $DIRECTOR_NODE", "--wait")
    tasks = {task["node"]: task for task in tasks_of(job)}
    assert sorted(tasks) == sorted(names)
    for name, task in tasks.items():
        assert task["state"] == "success"
        assert task["stdout"] == f"hello from {os.uname().nodename} {name}\n"

    (fleet.folder / "bad-n-17").touch()
    test = f"RUN test ! -e {fleet.folder}/bad-$DIRECTOR_NODE"
    job = fleet.run_json("--exec", test, "--wait", exit_code=1)
    failed = [task["node"] for task in tasks_of(job) if task["state"] != "success"]
    assert (job["state"], failed) == ("failed", ["n-17"])
    shown = fleet.director("--exec", test, "--wait")
    assert shown.returncode == 1 and "n-17" in shown.stdout

    pids = forty.pids()
    assert forty.script("--stop").returncode == 0
    assert not [name for name, pid in pids.items() if is_alive(pid)]


@pytest.mark.alone
def test_the_server_is_as_idle_after_forty_clients_vanish(forty: ScriptedFleet) -> None:
    names = forty.start()
    pids = forty.pids()
    server = pids.pop("server")
    processes = [server, *children_of(server)]

    def used(seconds: float = 5.0) -> float:
        before = sum(map(cpu_seconds, processes))
        time.sleep(seconds)  # a measurement over time, not a wait for something
        return sum(map(cpu_seconds, processes)) - before

    with_clients = used()
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    forty.fleet.wait_state(names, "offline")
    assert used() < with_clients + 1, "a loop that spins takes five seconds"


def test_fleet_refuses_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.touch()
    command = [str(ROOT / "scripts/fleet"), "3", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and "in use" in done.stderr
    assert precious.exists()


# settings


def test_flag_beats_environment_beats_file(fleet: Fleet) -> None:
    config = fleet.folder / "client.yaml"
    config.write_text("identity: from-file\n")
    use_file = ["--config-file", str(config)]
    fleet.start_client("a", *use_file, env={"DIRECTOR_CONFIG_FILE": str(config)})
    fleet.start_client("b", *use_file, env={"DIRECTOR_IDENTITY": "from-env"})
    fleet.start_client("c", *use_file, "--identity", "from-flag", env={"DIRECTOR_IDENTITY": "from-env"})
    fleet.wait_online(["from-file", "from-env", "from-flag"])
    assert fleet.run_json("--node-info", "from-flag")["id"] == "from-flag"


# silence


def test_a_stopped_node_is_named_and_the_job_is_no_success(fleet: Fleet) -> None:
    names = fleet.start_clients(3)
    fleet.wait_online(names)
    fleet.kill("node-2", signal.SIGSTOP)
    wait = ["--target", "node-[1-2]", "--wait", "--wait-timeout", "8s"]
    waiting = fleet.begin("--exec", "RUN echo here", *wait)
    fleet.wait_state(["node-2"], "offline")
    silent = re.search(r"node-2 is offline: silent for ([\d.]+) s", fleet.log("server"))
    assert silent and float(silent[1]) >= 3, "three beats of a second were missed"

    stdout, stderr = waiting.communicate(timeout=120)
    assert waiting.returncode == 4, stderr
    assert "node-2" in stderr and ("offline" in stderr or "silent" in stderr) and ", until " in stderr
    assert "node-1" in stdout
    job = fleet.job()
    assert job["state"] == "running" and not job["final"]

    fleet.kill("node-2", signal.SIGCONT)
    job = fleet.wait_job(job["id"])
    assert job["state"] == "success", "it was only slow, and nobody gave it up"

    running = fleet.director("--exec", "RUN --timeout 1h sleep 1000", "--target", "node-1", "--wait-timeout", "3s")
    assert running.returncode == 4
    since, until = running.stderr.partition("node-1: running since ")[2].splitlines()[0].split("Z, until ")
    assert since[11:13] != until[11:13] and since[14:] == until[14:-1], "an hour later"


# kills


def marks_of(fleet: Fleet) -> dict[str, list[str]]:
    """Lines that the steps have appended, by node."""
    return {path.name: path.read_text().split() for path in (fleet.folder / "marks").iterdir()}


def submit_marking_job(fleet: Fleet) -> str:
    """A job of STEPS steps, each of which appends its number to the node's file."""
    folder = fleet.folder / "marks"
    folder.mkdir()
    lines = [f"RUN echo {i} >> {folder}/$DIRECTOR_NODE" for i in range(STEPS)]
    path = fleet.folder / "marks.director"
    path.write_text("\n".join(lines) + "\n")
    return fleet.submit("--orchestrate", str(path))


def assert_each_step_ran_once(fleet: Fleet, job: dict[str, Any], names: list[str]) -> None:
    """Every task is a success and every step ran once, in order, on every node."""
    assert job["state"] == "success", job["tasks"]
    assert job["tasks"]["total"] == job["tasks"]["success"] == STEPS * len(names)
    marks = marks_of(fleet)
    assert sorted(marks) == sorted(names)
    once = [str(i) for i in range(STEPS)]
    assert not [name for name, lines in marks.items() if lines != once]


def wait_marks(fleet: Fleet, count: int) -> None:
    """Return when the nodes together have run so many steps."""
    wait_until(lambda: sum(map(len, marks_of(fleet).values())) >= count, f"{count} steps ran")


def test_server_killed_in_mid_job(fleet: Fleet) -> None:
    names = fleet.start_clients(20)
    fleet.wait_online(names)
    job_id = submit_marking_job(fleet)
    for share in (0.2, 0.5):
        wait_marks(fleet, int(STEPS * len(names) * share))
        fleet.kill("server")
        fleet.restart("server")
    assert_each_step_ran_once(fleet, fleet.wait_job(job_id), names)


def test_planner_worker_killed_in_mid_job(fleet: Fleet) -> None:
    names = fleet.start_clients(20)
    fleet.wait_online(names)
    job_id = submit_marking_job(fleet)
    wait_marks(fleet, 400)
    before = fleet.workers()
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(fleet.workers()) - set(before)) == len(before), "workers are back")
    assert_each_step_ran_once(fleet, fleet.wait_job(job_id), names)


def test_a_plan_in_a_killed_worker_is_planned_again(fleet: Fleet) -> None:
    fleet.wait_online(fleet.start_clients(2))
    for pid in fleet.workers():
        os.kill(pid, signal.SIGSTOP)
    submitting = fleet.begin("--exec", "RUN true", "--wait", "--output", "json")
    with pytest.raises(subprocess.TimeoutExpired):
        submitting.wait(0.7)  # no planner can answer, so no id is given out
    assert fleet.run_json("--list-jobs") == []
    for pid in fleet.workers():
        os.kill(pid, signal.SIGKILL)
    stdout, stderr = submitting.communicate(timeout=120)
    assert submitting.returncode == 0, stderr
    assert json.loads(stdout)["tasks"]["success"] == 2
    assert len(fleet.run_json("--list-jobs")) == 1


def test_client_killed_in_mid_task(fleet: Fleet) -> None:
    names = fleet.start_clients(2)
    fleet.wait_online(names)
    begun = fleet.folder / "begun"
    slow = f"echo $$ >> {begun}; sleep 300"
    text = f"RUN test $DIRECTOR_NODE != node-1 || {{ {slow}; }}\nRUN echo after"
    job_id = fleet.submit("--exec", text)
    wait_until(lambda: begun.exists() and begun.read_text().endswith("\n"), "the task runs")
    shell = int(begun.read_text())
    fleet.kill("node-1")
    fleet.restart("node-1")

    job = fleet.wait_job(job_id)
    states = {(task["step"], task["node"]): task for task in tasks_of(job)}
    assert job["state"] == "failed"
    lost = states[0, "node-1"]
    assert lost["state"] == "lost" and lost["reason"]
    assert states[1, "node-1"]["state"] == "skipped"
    assert states[0, "node-2"]["state"] == states[1, "node-2"]["state"] == "success"
    assert begun.read_text().split() == [str(shell)], "a task runs once"
    wait_until(lambda: not is_alive(shell), "what was left of the task is ended")
    shown = fleet.director("--wait-job", job_id)
    assert shown.returncode == 1 and "lost" in shown.stdout and "node-1" in shown.stdout

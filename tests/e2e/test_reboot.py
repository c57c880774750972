"""REBOOT with real processes: a client in a room of its own, whose kernel seems to have booted anew."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable

from harness import ROOT, Fleet, is_alive, tasks_of, wait_until

BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Host:
    """A machine of which only the boot id and the client are its own; it goes down when the client is killed."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet, self.name = fleet, name
        self.boot = fleet.folder / f"{name}.boot"
        self.pid = fleet.folder / f"{name}.pid"
        self.command = fleet.folder / f"{name}.reboot"
        self.boot.write_text(f"{uuid.uuid4()}\n")
        anew = f"cat /proc/sys/kernel/random/uuid > {self.boot}"
        self.command.write_text(f"#!/bin/sh\n{anew}\nkill -9 $(cat {self.pid})\n")
        self.command.chmod(0o755)

    def start(self) -> None:
        """The machine comes up and starts its client."""
        fleet = self.fleet
        director = [
            sys.executable, "-m", "director", "--client", "--identity", self.name, "--server-address",
            f"127.0.0.1:{fleet.port}", "--enroll-port", str(fleet.enroll_port), "--state-dir",
            str(fleet.folder / self.name), "--reboot-command", str(self.command),
        ]  # fmt: skip
        inside = f'mount --bind {self.boot} {BOOT_ID} && echo $$ > {self.pid} && exec "$@"'
        room = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
        with open(fleet.folder / f"{self.name}.log", "ab") as log:
            fleet.processes[self.name] = subprocess.Popen(
                [*room, "sh", "-c", inside, "sh", *director],
                cwd=ROOT, env=fleet.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.fleet.wait_online([self.name])

    def wait_down(self) -> None:
        """Return when its client is gone."""
        self.fleet.processes[self.name].wait(120)


def test_a_job_goes_on_when_its_host_is_back_however_long_that_takes(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.start_server("--lost-after", "2s")
    host, marks = Host(fleet, "host-1"), fleet.folder / "marks"
    host.start()
    ready = f"until test -e {fleet.folder}/ready; do sleep 0.05; done"
    slow = fleet.submit("--exec", f"RUN touch {fleet.folder}/begun; {ready}; echo slow >> {marks}")
    wait_until((fleet.folder / "begun").exists, "the slow task runs")
    job = fleet.submit("--exec", f"RUN echo before >> {marks}\nREBOOT --timeout 15m 0.5\nRUN echo after >> {marks}")
    wait_until(lambda: marks.exists(), "the step before it has run")
    wait_until(lambda: fleet.job(job)["steps"][1]["tasks"][0]["state"] == "running", "the restart is due")
    held = fleet.submit("--exec", f"RUN echo held >> {marks}")
    (fleet.folder / "ready").touch()
    host.wait_down()
    assert marks.read_text().split() == ["before", "slow"], "what runs is waited for, and nothing new is begun"
    fleet.wait_state(["host-1"], "offline")
    time.sleep(3)  # longer than --lost-after
    states = [task["state"] for task in tasks_of(fleet.job(job))]
    assert states[:2] == ["success", "running"] and not fleet.job(job)["final"]
    host.start()
    assert [fleet.wait_job(name)["state"] for name in (job, held, slow)] == ["success"] * 3
    assert sorted(marks.read_text().split()[2:]) == ["after", "held"]
    step = fleet.job(job)["steps"][1]["tasks"][0]
    assert step["state"] == "success" and step["execution_time"] > 5


def test_one_restart_after_another_and_one_that_takes_too_long(fleet: Fleet) -> None:
    host = Host(fleet, "host-1")
    host.start()
    first = fleet.submit("--exec", "REBOOT 1\nRUN true")
    second = fleet.submit("--exec", "REBOOT\nRUN true")
    host.wait_down()
    host.start()
    host.wait_down()
    host.start()
    jobs = [fleet.wait_job(name) for name in (first, second)]
    assert [job["state"] for job in jobs] == ["success"] * 2, [task["reason"] for task in tasks_of(jobs[1])]
    late = fleet.submit("--exec", "REBOOT --timeout 8s\nRUN true")
    host.wait_down()
    time.sleep(8)
    host.start()
    assert [task["state"] for task in tasks_of(fleet.wait_job(late))] == ["timeout", "skipped"]


def test_a_restart_that_does_not_come_is_no_success(fleet: Fleet) -> None:
    fleet.start_client("refuses", "--reboot-command", "sh -c 'echo no way >&2; exit 3'")
    fleet.start_client("idles", "--reboot-command", "true")
    fleet.start_client("dies", "--reboot-command", "true")
    fleet.wait_online(["refuses", "idles", "dies"])
    job = fleet.submit("--exec", "REBOOT --timeout 5s")
    wait_until(lambda: "restarting" in fleet.log("dies"), "it begins")
    assert fleet.stop("dies") == 0, "SIGTERM in mid-restart is part of it"
    assert not is_alive(fleet.pid("dies"))
    fleet.restart("dies")
    tasks = {task["node"]: task for task in tasks_of(fleet.wait_job(job))}
    assert {name: task["state"] for name, task in tasks.items()} == {
        "refuses": "failed", "idles": "timeout", "dies": "failed",
    }  # fmt: skip
    assert "exit code 3: no way" in tasks["refuses"]["reason"] and "host was not" in tasks["dies"]["reason"]
    assert fleet.director("--exec", "RUN true", "--wait").returncode == 0, "nothing is held back any more"

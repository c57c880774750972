"""Forty containers from the Containerfile, and a server in a container that is used by `podman exec`."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT, clean_environment, free_ports, wait_until
from podman import Podman, ready_podman

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("containers"),
]

IMAGE = "localhost/director-test"
COUNT = 40


@pytest.fixture(scope="module")
def podman() -> Podman:
    """Podman with the image built by the documented command, which names no context folder."""
    ready = ready_podman()
    ready.build(IMAGE, "-f", "Containerfile")
    return ready


def processes(command: str) -> list[str]:
    """Processes of this machine, its containers' among them, with this command line."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if Path("/proc", entry, "cmdline").read_bytes().decode().split("\0")[:-1] == command.split():
                found.append(entry)
    return found


class ContainerServer:
    """A server container with a named volume, its socket shared with the host for scripts/fleet."""

    def __init__(self, podman: Podman, folder: Path) -> None:
        self.podman = podman
        self.folder = folder
        self.port, self.enroll_port = free_ports(2)
        self.name = self.volume = f"director-test-{os.getpid()}"
        self.token = ""  # for clients
        self.run = folder / "run"
        self.run.mkdir()
        self.run.chmod(0o777)

    def start(self) -> None:
        """Start it as the documented command does, on own ports."""
        settings = {"MODE": "server", "PORT": self.port, "ENROLL_PORT": self.enroll_port}
        env = [f"--env=DIRECTOR_{name}={value}" for name, value in settings.items()]
        volumes = ["--volume", f"{self.volume}:/var/lib/director", "--volume", f"{self.run}:/run/director"]
        start = ["run", "--detach", "--net=host", "--user", "director", "--name", self.name]
        self.podman(*start, *volumes, *env, IMAGE, "director")
        listing = ("exec", self.name, "director", "--list-nodes")
        wait_until(lambda: self.podman.run(*listing).returncode == 0, "the server answers", every=0.2)

    def director(self, *args: str) -> Any:
        """The JSON answer of a user's command, given inside the container."""
        return json.loads(self.podman("exec", self.name, "director", *args, "--output", "json"))

    def online(self) -> dict[str, str]:
        """The nodes online, by name, with their keys; asked from the host by the shared socket."""
        ask = [sys.executable, "-m", "director", "--socket-path", str(self.run / "director.sock")]
        listing = [*ask, "--list-nodes", "--limit", "0", "--output", "json"]
        nodes = json.loads(subprocess.check_output(listing, cwd=ROOT, env=clean_environment(), timeout=120))
        return {node["id"]: node["key"] for node in nodes if node["state"] == "online"}

    def run_client(self, name: str, *options: str) -> None:
        """Start one client container as the contract has it."""
        address = f"--env=DIRECTOR_SERVER_ADDRESS=127.0.0.1:{self.port}"
        enroll = f"--env=DIRECTOR_ENROLL_PORT={self.enroll_port}"
        label = f"--label=director.test={self.name}"
        run = ["run", "--detach", "--net=host", "--hostname", name, label, address, enroll, *options]
        self.podman(*run, IMAGE, "director")

    def fleet(self, *args: str) -> None:
        """Run scripts/fleet against this server."""
        address = ["--server-address", f"127.0.0.1:{self.port}", "--enroll-port", str(self.enroll_port)]
        place = ["--folder", str(self.folder / "fleet"), "--socket-path", str(self.run / "director.sock")]
        command = [str(ROOT / "scripts/fleet"), "--containers", "--image", IMAGE, *address, *place, *args]
        environment = {**self.podman.env, **({"DIRECTOR_TOKEN": self.token} if self.token else {})}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr

    def containers(self) -> list[str]:
        """The clients that were started by `run_client`."""
        return self.podman("ps", "-aq", "--filter", f"label=director.test={self.name}").split()

    def remove(self) -> None:
        """Remove every container and volume of this test."""
        self.podman.run("rm", "-f", "-t", "0", self.name, *self.containers())
        self.podman.run("volume", "rm", "-f", self.volume)


@pytest.fixture
def server(podman: Podman, tmp_path: Path) -> Iterator[ContainerServer]:
    made = ContainerServer(podman, tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.mark.alone
def test_forty_containers_come_go_and_come_again(server: ContainerServer) -> None:
    names = {f"{socket.gethostname()}-client-{i}" for i in range(1, COUNT + 1)}
    try:
        server.token = server.podman("exec", server.name, "director", "--create-token", "--reusable").strip()
        server.fleet(str(COUNT), "--detach")
        before = server.online()
        assert set(before) == names
        job = server.director("--exec", "RUN echo hello from $(hostname)", "--wait")
        said = {task["node"]: task["stdout"] for task in job["steps"][0]["tasks"]}
        assert said == {name: f"hello from {name}\n" for name in names}
        assert job["tasks"]["success"] == COUNT

        server.fleet("--stop")  # rm -f: the clients say no goodbye, their keys are gone
        for name in sorted(names):
            server.run_client(name, f"--env=DIRECTOR_TOKEN={server.token}")

        def missing() -> set[str]:
            now = server.online()
            return {name for name in names if now.get(name) in (None, before[name])}

        wait_until(lambda: not missing(), "all forty are online again, with new keys", every=0.5)
        job = server.director("--exec", "RUN true", "--wait")
        assert job["tasks"]["success"] == COUNT

        server.podman("rm", "--force", "--time", "0", *server.containers())
        for name in sorted(names)[:3]:
            server.run_client(name)  # without the token
        wait_until(lambda: len(server.director("--list-nodes", "--state", "pending")) == 3, "three wait", every=0.5)
        assert all("reusable token" in row["reason"] for row in server.director("--list-nodes", "--state", "pending"))
        for container in server.containers():
            logs = server.podman.run("logs", container)
            assert "--renew-node" in logs.stdout + logs.stderr, "the node's own log says what to do"
    finally:
        server.fleet("--stop")


@pytest.mark.parametrize("user", ["director", "12345"])
def test_a_client_runs_without_root(server: ContainerServer, user: str) -> None:
    server.run_client("plain", "--user", user)
    wait_until(lambda: "plain" in server.online(), "the client is online", every=0.2)
    job = server.director("--exec", "RUN test $(id -u) != 0 && touch /tmp/here", "--wait")
    assert job["state"] == "success", job["steps"]

    said = "sleep 1000.7"
    ending = ("--exec", f"RUN {said} & {said}", "--timeout", "2s", "--wait", "--output", "json")
    done = server.podman.run("exec", server.name, "director", *ending)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["steps"][0]["tasks"][0]["state"] == "timeout"
    assert not processes(said), "none of its processes lives"


def test_sigterm_is_honoured_and_the_key_outlives_the_container(server: ContainerServer) -> None:
    server.run_client("stays")
    wait_until(lambda: "stays" in server.online(), "the client is online", every=0.2)
    server.podman("stop", "-t", "20", server.name)  # by SIGKILL after that, and the exit code would be 137
    assert server.podman("inspect", "--format", "{{.State.ExitCode}}", server.name).strip() == "0"
    server.podman("rm", server.name)
    server.start()
    wait_until(lambda: "stays" in server.online(), "the client takes the server for the same", every=0.5)


def test_the_image_holds_no_keys_and_takes_other_commands(podman: Podman) -> None:
    run = ("run", "--rm", "--net=host", IMAGE)
    held = podman(*run, "find", "/var/lib/director", "/run/director", "-type", "f")
    assert held == ""
    assert "--list-jobs" in podman(*run, "--help")

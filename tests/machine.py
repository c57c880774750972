"""A machine of its own for a test: a container in which systemd is process 1, without a network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import wait_until
from podman import Podman, ready_podman

IMAGE = "localhost/director-test-machine"
RECIPE = "tests/e2e/machine/Containerfile"
SOURCE = "/root/source"
OPTIONS = ("--privileged", "--network=none", "--systemd=always", "--hostname=machine")
SERVER = "--add-host=the-server.example.com:127.0.0.1"  # the name that the documentation gives the server


class Machine:
    """A running machine; commands are given as root, in the unpacked source of the project."""

    def __init__(self, podman: Podman, name: str) -> None:
        self.podman, self.name = podman, name

    def start(self, sdist: Path) -> None:
        """Boot it, and unpack the project's source."""
        self.podman("run", "--detach", "--name", self.name, *OPTIONS, SERVER, IMAGE)
        self.podman("cp", str(sdist), f"{self.name}:/root/director.tar.gz")
        self.unpack()
        state = ("exec", self.name, "systemctl", "is-system-running")
        wait_until(lambda: self.podman.run(*state).stdout.strip() in ("running", "degraded"), "systemd has booted")

    def unpack(self) -> None:
        """Put the project's source into its folder anew."""
        unpack = f"rm -rf {SOURCE}; mkdir {SOURCE}; tar -xf director.tar.gz -C {SOURCE} --strip-components=1"
        self.podman("exec", "-w", "/root", self.name, "sh", "-ec", unpack)

    def __call__(self, script: str, timeout: float = 120) -> str:
        """Run commands of bash, each of which must succeed; what they printed."""
        done = self.podman.run("exec", "-w", SOURCE, self.name, "bash", "-euc", script, timeout=timeout)
        assert done.returncode == 0, f"{script}\nexit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def tries(self, script: str) -> bool:
        """Whether the commands succeed."""
        return self.podman.run("exec", "-w", SOURCE, self.name, "bash", "-euc", script).returncode == 0


@contextmanager
def new_machine(sdist: Path) -> Iterator[Machine]:
    """A machine that has booted and has Director's source; removed at the end."""
    if os.getuid():
        pytest.skip("SYSTEMD NOT TESTED: only root may start the privileged container in which it is process 1")
    podman = ready_podman()
    podman.build(IMAGE, "-f", RECIPE, ".")
    machine = Machine(podman, f"director-machine-{os.getpid()}")
    try:
        machine.start(sdist)
        yield machine
    finally:
        podman.run("rm", "-f", "-t", "0", machine.name)

"""Secrets used in every way, in jobs that end in every way: no file, output or process shows one."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Fleet, wait_until

READ_PROC = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; true"


class Canary:
    """A fleet whose every word is kept, the values that nobody may find, and how they are given.

    Attributes:
        place: where the values are on purpose; it is not searched.
    """

    def __init__(self, fleet: Fleet, place: Path) -> None:
        self.fleet, self.place = fleet, place
        self.values = {name: f"{name}-{secrets.token_hex(16)}" for name in ("file", "variable", "made")}
        for name, value in self.values.items():
            (place / name).write_text(f"{value}\n")
        self.options = ["--secret", f"id=file,src={place / 'file'}", "--secret", "id=variable,env=CANARY"]
        self.outputs = fleet.folder / "outputs"

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A call with the secrets; its output is kept and searched."""
        done = self.fleet.director(*words, env={"CANARY": self.values["variable"]})
        with open(self.outputs, "a") as file:
            file.write(done.stdout + done.stderr)
        return done

    def submit(self, text: str, *more: str) -> str:
        """The id of a job with the secrets."""
        done = self.call("--exec", text, *more, *self.options)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def text(self, last: str) -> str:
        """Steps that use and show all secrets, and then do something."""
        conf, blueprint = self.place / "conf", self.place / "blueprint"
        blueprint.write_text("{{ secret('file') }}\n{{ secret('variable') }}\n{{ node.id }}\n")
        mounts = "--mount=type=secret,id=file,target=in --mount=type=secret,id=variable,env=PW"
        return f"""WORKDIR {self.place}/{{{{ node.id }}}}
        RUN {mounts} cat in; echo "$PW" >&2; set -x; : "$PW"
        ARG --secret MADE
        RUN --stdout-arg MADE cat {self.place / "made"}
        ENV URL=http://$MADE@example.com
        RUN echo "$MADE $URL"
        COPY --blueprint --chmod=0600 {blueprint} {conf}-{{{{ node.id }}}}
        RUN {mounts} cat {conf}-$DIRECTOR_NODE; {last}"""

    def found(self) -> list[str]:
        """Files of server, nodes and calls that have one of the values."""
        return [
            str(path)
            for folder, _, names in os.walk(self.fleet.folder)
            for path in (Path(folder, name) for name in names)
            if path.is_file() and self.is_in(path.read_bytes())
        ]

    def is_in(self, data: bytes) -> bool:
        """Whether one of the values is in these bytes."""
        return any(value.encode() in data for value in self.values.values())


@pytest.fixture
def canary(new_fleet: Callable[..., Fleet], tmp_path: Path) -> Iterator[Canary]:
    fleet = new_fleet()
    fleet.start_server("--log-level", "debug")
    fleet.wait_online(fleet.start_clients(2, "--log-level", "debug"))
    yield Canary(fleet, tmp_path)


@contextlib.contextmanager
def tapped(fleet: Fleet) -> Iterator[Path]:
    """A socket that passes all on to the server's and keeps it in a file; it can pass no descriptors."""
    path = fleet.folder / "tap.sock"

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                kept.write(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, server = listener.accept()[0], socket.socket(socket.AF_UNIX)
                server.connect(str(fleet.socket_path))
                for ends in ((caller, server), (server, caller)):
                    threading.Thread(target=pass_on, args=ends, daemon=True).start()

    with socket.socket(socket.AF_UNIX) as listener, open(fleet.folder / "captured", "ab", 0) as kept:
        listener.bind(str(path))
        listener.listen()
        threading.Thread(target=serve, daemon=True).start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)


def states(job: dict[str, Any], node: str) -> list[str]:
    return [task["state"] for step in job["steps"] for task in step["tasks"] if task["node"] == node]


def seen_by(user: str) -> bytes:
    """The arguments and environments of all processes that this user can read."""
    entry = pwd.getpwnam(user)
    become = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    read = subprocess.run(["/bin/sh", "-c", READ_PROC], capture_output=True, cwd="/", check=True, **become)
    return read.stdout


def test_no_byte_shows_a_secret(canary: Canary) -> None:
    fleet = canary.fleet
    flag, running = canary.place / "flag", canary.place / "running"
    jobs = {
        "fails": canary.submit(canary.text(f"test -e {flag}"), "--valid-for", "10m"),
        "times out": canary.submit(canary.text("sleep 600"), "--timeout", "1s", "--target", "node-1"),
        "is cancelled": canary.submit(canary.text(f"touch {running}; sleep 600"), "--target", "node-1"),
    }
    wait_until(running.exists, "the job that will be cancelled runs")
    everybody = Path("/proc")
    lines = [path.read_bytes() for path in everybody.glob("[0-9]*/cmdline") if path.exists()]
    assert not any(map(canary.is_in, lines)), "nothing is among the arguments of a process"
    if os.geteuid() == 0:
        assert not canary.is_in(seen_by("nobody"))
    canary.call("--cancel-job", jobs["is cancelled"])
    ended = {name: fleet.wait_job(job)["state"] for name, job in jobs.items()}
    assert ended == {"fails": "failed", "times out": "failed", "is cancelled": "cancelled"}
    assert canary.values["file"] in (canary.place / "conf-node-2").read_text()
    shown = [task["stdout"] for task in fleet.job(jobs["fails"])["steps"][1]["tasks"]]
    assert shown == ["***\n", "***\n"]

    with tapped(fleet) as tap:
        seen = canary.call(
            "--socket-path", str(tap), "--exec", canary.text("true").replace("COPY", "ECHO COPY"), "--wait",
            "--target", "node-1", *canary.options,
        )  # fmt: skip
        assert seen.returncode == 0 and b"boxes" in (fleet.folder / "captured").read_bytes()

    flag.touch()
    canary.call("--resume", jobs["fails"], "--wait", *canary.options)
    running.unlink()
    killed = canary.submit(canary.text(f"touch {running}; sleep 600"), "--target", "node-2")
    wait_until(running.exists, "the job of the client that will be killed runs")
    fleet.kill("node-2")
    assert canary.found() == [], "while the client is dead"
    fleet.restart("node-2")
    assert states(fleet.wait_job(killed), "node-2")[-1] == "lost"
    for words in (["--job-info", "last"], ["--list-jobs"], ["--node-info", "node-1"], ["--node-info", "node-2"],
                  ["--export-jobs", f"{fleet.folder}/jobs.yaml"], ["--export-nodes", f"{fleet.folder}/nodes.json"],
                  ["--plan", "--exec", canary.text("true"), *canary.options]):  # fmt: skip
        assert canary.call(*words).returncode == 0
    shutil.copytree(fleet.folder / "server", fleet.folder / "backup", ignore=shutil.ignore_patterns("*.sock"))
    fleet.stop("server")
    for name in ("node-1", "node-2"):
        fleet.stop(name)
    assert canary.found() == []
    assert "***" in canary.outputs.read_text()
    left = [name for place in ("/run", "/dev/shm") for name in os.listdir(place) if name.startswith("director-secret-")]
    assert not any(canary.is_in(path.read_bytes()) for name in left for path in Path("/").glob(f"*/{name}/value"))

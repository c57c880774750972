"""scripts/poll-job.sh: a POSIX shell script that submits, polls and tells the truth by its exit code."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
from harness import ROOT, Fleet


@pytest.fixture
def poller(fleet: Fleet) -> Fleet:
    """A fleet of three whose folder holds a `director` command for the script's PATH."""
    program = fleet.folder / "bin/director"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(fleet.command())} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    fleet.wait_online(fleet.start_clients(3))
    return fleet


def poll(fleet: Fleet, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a user would, with the fleet's director on the PATH."""
    path = f"{fleet.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {**fleet.environment, "PATH": path, "INTERVAL": "0.2"}
    script = Path(ROOT, "scripts/poll-job.sh")
    command = ["sh", str(script), *args]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_success_is_exit_0_and_silent(poller: Fleet) -> None:
    done = poll(poller, "RUN echo well")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "success" in done.stderr


def test_failures_are_printed_and_exit_1(poller: Fleet) -> None:
    misleading = 'a "final": true "state": "success" name'
    done = poll(poller, "RUN test $DIRECTOR_NODE != node-2", "--name", misleading)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1 and '"node-2"' in lines[0]


def test_expired_is_exit_8(poller: Fleet) -> None:
    poller.stop("node-3")
    poller.wait_state(["node-3"], "offline")
    done = poll(poller, "RUN true", "--target", "node-3,node-1", "--valid-for", "1s")
    assert done.returncode == 8, done.stderr
    assert '"expired"' in done.stdout and '"node-3"' in done.stdout


def test_what_director_refuses_is_its_exit_code(poller: Fleet) -> None:
    done = poll(poller, "RUN true", "--target", "nobody-*")
    assert done.returncode == 5
    assert done.stdout == ""

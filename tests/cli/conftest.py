"""The real program as a subprocess, against a scripted server at a real socket."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli.fake_server import FakeServer
from terminal import Terminal

Run = Callable[..., "subprocess.CompletedProcess[str]"]
OnTerminal = Callable[..., Terminal]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeServer]:
    with FakeServer(str(tmp_path / "s")) as server:
        yield server
    assert not server.failures


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The variables of a call: none of Director's but the socket's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DIRECTOR_")}
    return {**kept, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "DIRECTOR_SOCKET_PATH": str(tmp_path / "s")}


@pytest.fixture
def start(environ: dict[str, str], tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start `director ARGV…`; its three streams are pipes."""

    def start(*argv: str, **variables: str) -> subprocess.Popen[str]:
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        command = [sys.executable, "-m", "director", *argv]
        return subprocess.Popen(command, env={**environ, **variables}, cwd=tmp_path, text=True, **pipes)

    return start


@pytest.fixture
def on_terminal(environ: dict[str, str], tmp_path: Path) -> Callable[..., Terminal]:
    """Start `director ARGV…` on a terminal of its own."""
    kept = {name: value for name, value in environ.items() if name not in ("TERM", "NO_COLOR", "COLUMNS", "LINES")}

    def on_terminal(*argv: str, rows: int = 24, columns: int = 80, **variables: str) -> Terminal:
        command = [sys.executable, "-m", "director", *argv]
        return Terminal(command, {**kept, **variables}, tmp_path, rows, columns)

    return on_terminal


@pytest.fixture
def run(start: Callable[..., subprocess.Popen[str]]) -> Run:
    """Run `director ARGV…` to its end: `returncode`, `stdout`, `stderr`."""

    def run(*argv: str, input: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        process = start(*argv, **variables)
        out, err = process.communicate(input, timeout=60)
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    return run

"""--watch: on a terminal the list is shown in place, elsewhere again when it has changed."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from cli.fake_server import FakeServer, body, job
from terminal import Terminal

from director.cli import watch

A, B = "a" * 16, "b" * 16


@pytest.mark.parametrize("words", [["--list-jobs"], ["nodes"], ["list-tokens"]])
def test_every_list_can_be_watched(server: FakeServer, environ: dict[str, str], tmp_path: Path, words: list[str]):
    server.handlers["list-jobs"] = server.handlers["list-nodes"] = server.handlers["list-tokens"] = body([{"id": A}])
    with Terminal([sys.executable, "-m", "director", *words, "--watch"], environ, tmp_path) as call:
        call.expect(A)
        server.handlers["list-jobs"] = server.handlers["list-nodes"] = server.handlers["list-tokens"] = body(
            [{"id": B}]
        )
        call.expect(r"\x1b\[H\x1b\[2J.*\n.*" + B)
        call.type("\x03")
        assert call.end() == 130
    assert call.shown.endswith(watch.WRAP) or "^C" in call.shown


def test_without_a_terminal_each_change_is_printed(server: FakeServer, start: Callable[..., Popen[str]]):
    server.handlers["list-jobs"] = body([job(A, "running")])
    process = start("--list-jobs", "--watch", "--output", "jsonl")
    assert process.stdout is not None
    assert '"running"' in process.stdout.readline()
    seen = len(server.requests)
    server.handlers["list-jobs"] = body([job(A)])
    assert '"success"' in process.stdout.readline()
    assert len(server.requests) > seen
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130


def test_a_reader_that_leaves_ends_it(server: FakeServer, start: Callable[..., Popen[str]]):
    states: Any = iter(range(100_000))

    def changing(header: dict[str, Any], channel: Any) -> None:
        body([job(f"{next(states):016x}")])(header, channel)

    server.handlers["list-jobs"] = changing
    process = start("--list-jobs", "--watch")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0


def test_a_long_list_keeps_its_heading_and_its_newest_rows():
    text = "".join(f"{number}\n" for number in range(50))
    assert watch.fitting(text, 10) == "0\n" + "".join(f"{number}\n" for number in range(42, 50))
    assert watch.fitting("a\nb\n", 10) == "a\nb\n"

"""--follow in a terminal and in a pipe: colours, Ctrl-C once and twice, a server that ends, a reader that leaves."""

from __future__ import annotations

import signal
import subprocess
import threading
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from cli.conftest import OnTerminal, Run
from cli.fake_server import FakeServer, body, end, info, job, send

from director.protocol.framing import Channel

A = "a" * 16


def piece(text: str, offset: int = 0, node: str = "web-01") -> dict[str, Any]:
    return {
        "node": node, "step": 0, "number": 1, "attempt": 1, "stream": "stdout", "offset": offset,
        "data": b64encode(text.encode()).decode(),
    }  # fmt: skip


def never_ends(header: dict[str, Any], channel: Channel) -> None:
    send(channel, [piece("hello\n")], more=True)
    channel.receive()


@pytest.fixture
def following(server: FakeServer) -> FakeServer:
    server.handlers["list-jobs"] = body([job(A, "running")])
    server.handlers["follow"] = never_ends
    server.handlers["cancel"] = body({"jobs": []})
    return server


def test_one_interrupt_leaves_the_job_alone(following: FakeServer, on_terminal: OnTerminal) -> None:
    with on_terminal("--follow", A) as terminal:
        terminal.expect("hello")
        assert "\x1b[" in terminal.shown
        terminal.type("\x03")
        terminal.expect("Ctrl-C again")
        assert terminal.end() == 130
        assert f"interrupted; the job goes on ({A})" in terminal.plain
        assert f"come back with: director --follow {A}" in terminal.plain
    assert "cancel" not in [request["do"] for request in following.requests]


@pytest.mark.parametrize(("answer", "cancelled"), [("y\r", True), ("\r", False), ("\x03", False)])
def test_a_second_interrupt_offers_to_cancel(
    following: FakeServer, on_terminal: OnTerminal, answer: str, cancelled: bool
) -> None:
    with on_terminal("--follow", A) as terminal:
        terminal.expect("hello")
        terminal.type("\x03")
        terminal.expect("Ctrl-C again")
        terminal.type("\x03")
        terminal.expect(r"\[y/N\]")
        terminal.type(answer)
        assert terminal.end() == 130
        assert ("cancel ordered" in terminal.plain) == cancelled
    assert [request["ids"] for request in following.requests if request["do"] == "cancel"] == [[A]] * cancelled


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_a_pipe_an_interrupt_ends_at_once(
    following: FakeServer, start: Callable[..., subprocess.Popen[str]], number: int
) -> None:
    process = start("--follow", A)
    assert process.stdout is not None
    assert process.stdout.readline() == "web-01: hello\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "again" not in err and f"--follow {A}" in err


def test_a_form_that_cannot_come_line_by_line_is_refused(server: FakeServer, run: Run) -> None:
    for call in (("--follow", A), ("--exec", "RUN true", "--stream")):
        done = run(*call, "--output", "yaml")
        assert (done.returncode, done.stdout) == (2, "") and "table or jsonl" in done.stderr
    assert server.requests == []


def test_a_follower_of_a_job_that_stands_still_is_told_where_to_look(server: FakeServer, run: Run) -> None:
    def nothing(header: dict[str, Any], channel: Channel) -> None:
        for _ in range(6):
            send(channel, [], more=True)
        end(header, channel)

    server.handlers["list-jobs"] = body([job(A)])
    server.handlers["follow"] = nothing
    assert run("--follow", A).stderr == f"director: nothing new; `director --why {A}` says what the job waits for\n"
    assert run("--follow", A, "--quiet").stderr == ""


def test_a_reader_that_leaves_ends_the_call(server: FakeServer, start: Callable[..., subprocess.Popen[str]]) -> None:
    left = threading.Event()

    def pieces(header: dict[str, Any], channel: Channel) -> None:
        send(channel, [piece("one\n")], more=True)
        left.wait(60)
        send(channel, [piece("two\n", 4)], more=True)
        channel.receive()

    server.handlers["list-jobs"] = body([job(A, "running")])
    server.handlers["follow"] = pieces
    process = start("--follow", A)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    left.set()
    assert process.wait(60) == 0 and process.stderr.read() == ""


def test_a_server_that_ends_and_comes_back(server: FakeServer, run: Run) -> None:
    server.handlers["list-jobs"] = body([job(A)])

    def once(header: dict[str, Any], channel: Channel) -> None:
        send(channel, [piece("one\ntw")], more=True)

        def again(header: dict[str, Any], channel: Channel) -> None:
            send(channel, [piece("one\ntwo\n")], more=True)
            end(header, channel)

        server.handlers["follow"] = again
        server.stop()
        server.start()

    server.handlers["follow"] = once
    done = run("--follow", A, "--step", "1", "--node", "web-*")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["web-01: one", "web-01: two"]
    asked = [request for request in server.requests if request["do"] == "follow"]
    assert asked == [{"do": "follow", "id": A, "node": "web-*", "step": 0}] * 2
    assert "the server is back" in done.stderr


def test_a_wait_that_is_interrupted_twice_offers_the_same(server: FakeServer, on_terminal: OnTerminal) -> None:
    def waits(header: dict[str, Any], channel: Channel) -> None:
        send(channel, {"jobs": [job(A, "running")], "waiting": []}, more=True)
        channel.receive()

    server.handlers["wait"] = waits
    server.handlers["job-info"] = body(info(A, "running", "queued"))
    server.handlers["cancel"] = body({"jobs": []})
    with on_terminal("--wait-job", A) as terminal:
        while not any(request["do"] == "wait" for request in server.requests):
            terminal._read(0.05)
        terminal._read(0.3)
        terminal.type("\x03")
        terminal.expect("Ctrl-C again")
        terminal.type("\x03")
        terminal.expect(r"\[y/N\]")
        terminal.type("yes\r")
        assert terminal.end() == 130
    assert server.requests[-1] == {"do": "cancel", "ids": [A]}

"""Waiting: names of nodes, time limits, interrupts, servers that come back, several jobs."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from cli.conftest import Run
from cli.fake_server import FakeServer, body, end, info, job, send

from director.cli import waiting as module
from director.config.settings import Settings
from director.protocol.framing import Channel

A, B = "a" * 16, "b" * 16
WAITING = [{"node": f"web-0{n}", "why": "offline", "since": None, "until": "2026-01-31T13:00:00.000Z"} for n in (1, 2)]


def progress(waiting: Any = WAITING, **counts: int) -> dict[str, Any]:
    return {"jobs": [{**job(A, "running", **counts)}], "waiting": waiting}


def never(header: dict[str, Any], channel: Channel) -> None:
    send(channel, progress(queued=2), more=True)
    channel.receive()


@pytest.fixture
def waiting(server: FakeServer) -> FakeServer:
    """A job that does not end."""
    server.handlers["wait"] = never
    server.handlers["job-info"] = body(info(A, "running", "queued"))
    return server


def test_wait_timeout_shows_results_open_tasks_and_how_to_wait_on(waiting: FakeServer, run: Run):
    done = run("--wait-job", A, "--wait-timeout", "1s", "--output", "json")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (4, "running")
    lines = done.stderr.splitlines()
    assert lines[0] == "director: --wait-timeout passed; the job goes on"
    assert "web-[01-02]: offline" in lines[1] and "until 2026-01-31T13:00:00Z" in lines[1]
    assert lines[2] == f"director: come back with: director --wait-job {A}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_shows_the_same(waiting: FakeServer, start, number: int):
    asked = threading.Event()

    def handler(header: dict[str, Any], channel: Channel) -> None:
        send(channel, progress(queued=2), more=True)
        asked.set()
        channel.receive()

    waiting.handlers["wait"] = handler
    process = start("--wait-job", A)
    assert asked.wait(120)
    time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "queued" in out
    assert err.startswith(f"director: interrupted; the job goes on ({A})\n")
    assert f"director --wait-job {A}" in err and "Traceback" not in err


def test_a_hang_up_that_the_caller_ignores_interrupts_nothing(server: FakeServer, environ: dict[str, str]):
    server.handlers["job-info"] = body(info(A))
    caller: dict[str, int] = {}

    def handler(header: dict[str, Any], channel: Channel) -> None:
        credentials = server.connections[-1].getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        caller["pid"] = int.from_bytes(credentials[:4], sys.byteorder)
        os.kill(caller["pid"], signal.SIGHUP)
        end(header, channel)

    server.handlers["wait"] = handler
    command = ["nohup", sys.executable, "-m", "director", "--wait-job", A]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    assert caller and done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_before_the_answer_names_the_id(server: FakeServer, start, number: int):
    asked = threading.Event()

    def handler(header: dict[str, Any], channel: Channel) -> None:
        asked.set()
        channel.receive()

    server.handlers["submit"] = handler
    process = start("--exec", "RUN uptime")
    assert asked.wait(120)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert server.requests[0]["files"][0]["id"] in err


@pytest.mark.slow
def test_after_five_seconds_the_nodes_are_named(server: FakeServer, run: Run):
    def handler(header: dict[str, Any], channel: Channel) -> None:
        for _ in range(8):
            send(channel, progress(queued=2), more=True)
            time.sleep(1)
        end(header, channel)

    server.handlers["wait"] = handler
    server.handlers["job-info"] = body(info(A))
    done = run("--wait-job", A)
    assert done.returncode == 0
    assert done.stderr == "director: waiting for web-[01-02]: offline, until 2026-01-31T13:00:00Z\n"


def test_a_node_that_falls_silent_later_is_named_soon(monkeypatch: pytest.MonkeyPatch, capfdbinary: Any):
    class Played:
        def __init__(self) -> None:
            running = {"node": "web-01", "why": "running", "until": None}
            self.frames = [progress([running])] * 30 + [progress([{**running, "why": "silent"}])] * 30

        def send(self, header: Any) -> None: ...

        def ready(self, seconds: float) -> bool:
            time.sleep(0.01)
            return True

        def receive(self) -> Any:
            return {"ok": True, "more": bool(self.frames)}, json.dumps(
                self.frames.pop(0) if self.frames else 0
            ).encode()

    monkeypatch.setattr(module, "FIRST_NOTE", 0.1)
    module._Waiter(Settings(), [A]).until_final(Played())  # type: ignore[arg-type]
    told = capfdbinary.readouterr().err.decode().splitlines()
    assert told == ["director: waiting for web-01: running", "director: waiting for web-01: silent"]


def test_a_wait_survives_a_restart_of_the_server(server: FakeServer, run: Run):
    def die(header: dict[str, Any], channel: Channel) -> None:
        send(channel, progress(queued=2), more=True)
        server.handlers["wait"] = end
        server.stop()
        threading.Timer(0.5, server.start).start()

    server.handlers["wait"] = die
    server.handlers["job-info"] = body(info(A))
    done = run("--wait-job", A)
    assert (done.returncode, "web-01" in done.stdout) == (0, True)
    assert "the server is back" in done.stderr


def test_a_server_that_does_not_come_back_within_the_time_limit(server: FakeServer, run: Run):
    server.handlers["wait"] = lambda header, channel: server.stop()
    done = run("--wait-job", A, "--wait-timeout", "500ms")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"director --wait-job {A}" in done.stderr


def test_results_that_cannot_be_written_name_the_job(server: FakeServer, environ: dict[str, str]):
    server.handlers["wait"], server.handlers["job-info"] = end, body(info(A))
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "director", "--wait-job", A]
        done = subprocess.run(command, env=environ, stdout=full, stderr=subprocess.PIPE, text=True)
    said = f"the answer cannot be written: No space left on device; come back with: director --wait-job {A}"
    assert (done.returncode, done.stderr) == (1, f"director: {said}\n")


def test_several_jobs_are_a_list_and_the_worst_decides(server: FakeServer, run: Run):
    server.handlers["wait"] = end
    states = {A: ("incomplete", "expired"), B: ("failed", "failed")}
    server.handlers["job-info"] = lambda header, channel: body(info(header["id"], *states[header["id"]]))(
        header, channel
    )
    done = run("--wait-job", A, B, "--output", "json")
    assert (done.returncode, [each["id"] for each in json.loads(done.stdout)]) == (1, [A, B])
    done = run("--wait-job", A, B, A, "--output", "jsonl")
    assert [json.loads(line)["job"] for line in done.stdout.splitlines()] == [A, B]
    assert run("--wait-job", A).returncode == 8


def test_last_is_resolved_once(server: FakeServer, run: Run):
    server.handlers["list-jobs"] = body([job(B, "running", running=1)])
    server.handlers["wait"] = end
    server.handlers["job-info"] = body(info(B))
    assert run("--wait-job", "last").returncode == 0
    assert [request.get("ids") or request["id"] for request in server.requests] == [["last"], [B], B]


def test_no_such_job(server: FakeServer, run: Run):
    server.handlers["wait"] = lambda header, channel: channel.send({"error": "there is no job", "exit": 6})
    done = run("--wait-job", A)
    assert (done.returncode, done.stderr) == (6, "director: there is no job\n")


def test_progress_on_a_terminal_leaves_stdout_alone(server: FakeServer, environ: dict[str, str]):
    def handler(header: dict[str, Any], channel: Channel) -> None:
        for n in range(15):
            send(channel, progress([], success=n, running=15 - n), more=True)
            time.sleep(0.1)
        end(header, channel)

    server.handlers["wait"] = handler
    server.handlers["job-info"] = body(info(A))
    ours, theirs = pty.openpty()
    seen = bytearray()
    command = [sys.executable, "-m", "director", "--wait-job", A, "--output", "json"]
    variables = {**environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "80"}
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    reader = threading.Thread(target=lambda: _read_all(ours, seen))
    reader.start()
    out, _ = process.communicate(timeout=120)
    reader.join()
    os.close(ours)
    assert (process.returncode, json.loads(out)["id"]) == (0, A)
    assert b" of 15 tasks" in seen
    assert b"\x1b[3" not in seen  # no colours


def _read_all(fd: int, seen: bytearray) -> None:
    try:
        while data := os.read(fd, 4096):
            seen.extend(data)
    except OSError:
        return  # the other end has closed

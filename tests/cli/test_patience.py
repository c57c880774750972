"""A server that does not answer: a note after 3 s, an error by --server-timeout or --wait-timeout, signs of life."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import Run
from cli.fake_server import FakeServer, body, info, send

from director.protocol.framing import Channel

A = "a" * 16


def silent(header: dict[str, Any], channel: Channel) -> None:
    channel.receive()


def accept(header: dict[str, Any], channel: Channel) -> None:
    jobs = [{"id": file["id"], "name": file["name"]} for file in header["files"]]
    send(channel, {"jobs": jobs, "notes": []})


@pytest.fixture
def deaf(server: FakeServer) -> FakeServer:
    """A server that takes every request and answers none."""
    for do in (
        "list-jobs",
        "list-nodes",
        "job-info",
        "cancel",
        "purge-jobs",
        "submit",
        "plan",
        "resume",
        "wait",
        "export-jobs",
    ):
        server.handlers[do] = silent
    return server


@pytest.fixture
def full(tmp_path: Path) -> Iterator[None]:
    """A server that takes no more callers: its queue is full."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        callers = []
        try:
            while not callers or callers[-1].connect_ex(str(tmp_path / "s")) == 0:
                callers.append(socket.socket(socket.AF_UNIX))
                callers[-1].setblocking(False)
            yield
        finally:
            for caller in callers:
                caller.close()


SILENT = "director: the server has given no sign of life for 0.3 s (--server-timeout)"


def test_a_query_ends_by_the_servers_time_out(deaf: FakeServer, run: Run):
    for argv in (["--list-jobs"], ["--list-nodes"], ["--job-info", A], ["--wait-job", "last"], ["--export-jobs", "-"]):
        done = run(*argv, "--server-timeout", "300ms")
        assert (done.returncode, done.stderr) == (3, f"{SILENT}\n"), argv


@pytest.mark.parametrize("argv", [["--cancel-job", A], ["--purge-jobs"], ["--exec", "RUN a"], ["--resume", A]])
def test_an_order_that_is_not_answered_may_be_carried_out(deaf: FakeServer, run: Run, argv: list[str]):
    done = run(*argv, DIRECTOR_SERVER_TIMEOUT="300ms")
    (request,) = deaf.requests
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"{SILENT}; the order was sent; it may be carried out")
    made = [file["id"] for file in request.get("files", ())] or [request.get("new_id", "")]
    assert made == [""] or f"director --list-jobs {made[0]}" in done.stderr


def test_a_plan_is_no_order(deaf: FakeServer, run: Run):
    done = run("--plan", "--exec", "RUN a", DIRECTOR_SERVER_TIMEOUT="300ms")
    assert (done.returncode, done.stderr) == (3, f"{SILENT}\n")


def test_a_server_that_takes_no_callers(full: None, run: Run):
    for argv in (["--list-jobs"], ["--exec", "RUN a"]):
        done = run(*argv, "--server-timeout", "300ms")
        assert (done.returncode, done.stderr) == (3, f"{SILENT}; nothing was sent\n")


def test_a_server_that_does_not_read(run: Run, tmp_path: Path):
    (tmp_path / "large").write_bytes(b"#" * (4 * 1024 * 1024 - 1))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        done = run("--orchestrate", "large", "--server-timeout", "300ms")
    assert (done.returncode, done.stderr) == (3, f"{SILENT}; nothing was sent\n")


def test_the_wait_timeout_holds_while_connecting(full: None, run: Run):
    done = run("--exec", "RUN a", "--wait", "--wait-timeout", "300ms", "--server-timeout", "1h")
    said = "director: --wait-timeout passed before the server answered; nothing was sent\n"
    assert (done.returncode, done.stdout, done.stderr) == (4, "", said)
    done = run("--wait-job", A, "--wait-timeout", "300ms", "--server-timeout", "1h")
    assert (done.returncode, done.stdout, f"director --wait-job {A}" in done.stderr) == (4, "", True)


def test_the_wait_timeout_holds_while_planning(deaf: FakeServer, run: Run):
    done = run("--exec", "RUN a", "--wait-timeout", "300ms", "--server-timeout", "1h")
    id = deaf.requests[0]["files"][0]["id"]
    assert (done.returncode, done.stdout) == (4, "")
    assert "it may be carried out" in done.stderr and f"director --list-jobs {id}" in done.stderr


def test_the_wait_timeout_holds_while_waiting_and_fetching_results(deaf: FakeServer, run: Run):
    deaf.handlers["submit"] = accept
    done = run("--exec", "RUN a", "--wait", "--wait-timeout", "1s", "--server-timeout", "1h")
    id = deaf.requests[0]["files"][0]["id"]
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.splitlines()[0] == "director: --wait-timeout passed; the job goes on"
    assert done.stderr.endswith(f"director: come back with: director --wait-job {id}\n")


def test_a_wait_with_a_silent_server_names_the_job(deaf: FakeServer, run: Run):
    done = run("--wait-job", A, "--server-timeout", "300ms")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"{SILENT}; the job goes on; come back with: director --wait-job {A}\n"


def test_a_wait_timeout_without_a_wait_has_no_effect(server: FakeServer, run: Run):
    def slow(header: dict[str, Any], channel: Channel) -> None:
        time.sleep(0.5)
        accept(header, channel)

    server.handlers["submit"] = slow
    assert run("--exec", "RUN a", DIRECTOR_WAIT_TIMEOUT="100ms").returncode == 0


def test_results_are_fetched_when_the_server_is_alive(server: FakeServer, run: Run):
    def slow(header: dict[str, Any], channel: Channel) -> None:
        channel.send({"alive": True})
        time.sleep(1.5)
        body(info(A, "running", "queued"))(header, channel)

    server.handlers["wait"], server.handlers["job-info"] = silent, slow
    done = run("--wait-job", A, "--wait-timeout", "100ms")
    assert (done.returncode, "queued" in done.stdout) == (4, True)


@pytest.mark.slow
def test_a_note_after_three_seconds(deaf: FakeServer, start):
    calls = [start(*argv, "--server-timeout", "4s") for argv in (["--list-jobs"], ["--exec", "RUN a"])]
    for call in calls:
        _, err = call.communicate(timeout=120)
        assert call.returncode == 3
        word = "the server has given no sign of life for 3 s; the call ends after 4 s (--server-timeout)"
        assert err.splitlines()[0] == f"director: {word}"
        assert len(err.splitlines()) == 2


@pytest.mark.slow
def test_no_results_are_fetched_from_a_silent_server(deaf: FakeServer, run: Run):
    done = run("--wait-job", A, "--wait-timeout", "3100ms")
    assert (done.returncode, f"director --wait-job {A}" in done.stderr) == (4, True)
    assert [request["do"] for request in deaf.requests] == ["wait"]


@pytest.mark.slow
def test_signs_of_life_keep_a_call_waiting(server: FakeServer, run: Run):
    def works(header: dict[str, Any], channel: Channel) -> None:
        for _ in range(9):
            channel.send({"alive": True})
            time.sleep(0.5)
        accept(header, channel)

    server.handlers["submit"] = works
    done = run("--exec", "RUN a", "--server-timeout", "3s")
    assert (done.returncode, done.stderr) == (0, "director: the server is at work on it\n")

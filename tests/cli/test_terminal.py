"""Tables and groups in a real terminal, and the same calls in a pipe."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
from cli.conftest import OnTerminal, Run
from cli.fake_server import FakeServer, body, end, info, send

from director.protocol.framing import Channel

A = "a" * 16


def nodes(count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": f"web-{number:03}", "state": "online", "address": "10.0.0.1", "version": "1",
            "labels": {"tier": "web"}, "last_seen": "2026-01-31T12:00:00.000Z", "agent_uptime": 1.0,
            "host_uptime": 1.0, "key": "k", "reason": None, **more,
        }
        for number in range(count)
    ]  # fmt: skip


def failed_job() -> dict[str, Any]:
    """500 nodes, of which one has another output and one failed with 30 lines of errors."""
    one = info(A, "failed", "success", stdout="a\nb\nc\nd\n")
    task = one["steps"][0]["tasks"][0]
    tasks = [{**task, "node": f"web-{number:03}"} for number in range(498)]
    errors = "".join(f"line {number}\n" for number in range(30))
    odd = {**task, "node": "web-498", "stdout": "a\nb\nX\nd\n"}
    bad = {
        **task, "node": "web-499", "state": "failed", "exit_code": 3, "stdout": "", "stderr": errors,
        "reason": "exit code 3: line 29",
    }  # fmt: skip
    one["steps"][0]["tasks"] = [*tasks, odd, bad]
    return one


def test_five_hundred_nodes_fold_on_a_terminal(server: FakeServer, on_terminal: OnTerminal, run: Run) -> None:
    server.handlers["job-info"] = body(failed_job())
    with on_terminal("--job-info", A) as terminal:
        assert terminal.end() == 0
        lines = terminal.plain.splitlines()
    assert len(lines) < 50 and all(len(line) <= 80 for line in lines[:-1])
    assert "\x1b[31mfailed\x1b[0m" in terminal.shown
    at = lines.index("== step 1: RUN uptime: 499 success, 1 failed")
    assert lines[at + 1].startswith("web-[000-497]: success [498 nodes]")
    assert lines[at + 2 : at + 6] == ["  a", "  b", "  c", "  d"]
    assert lines[at + 6].startswith("web-498: success") and lines[at + 7 : at + 9] == ["  -c", "  +X"]
    assert lines[at + 9].startswith("web-499: failed: exit code 3 ") and lines[at + 10] == "! … 10 lines before"
    assert lines[at + 11 : at + 31] == [f"! line {number}" for number in range(10, 30)]
    assert f"director --job-info {A} --failed" in terminal.plain and f"director --resume {A}" in terminal.plain
    assert " ago)" in terminal.plain
    piped = run("--job-info", A)
    assert piped.stdout.count("\nweb-") >= 500 and "\x1b" not in piped.stdout and piped.stderr == ""
    folded = run("--job-info", A, "--per-node=false")
    assert len(folded.stdout.splitlines()) < 60


def test_narrowing_to_what_failed_to_a_node_and_to_a_step(server: FakeServer, run: Run) -> None:
    server.handlers["job-info"] = body(failed_job())
    server.handlers["list-nodes"] = body(nodes(2))
    found = run("--job-info", A, "--failed")
    assert "web-499  failed" in found.stdout and "web-498" not in found.stdout
    found = run("--job-info", A, "--node", "web-00*", "--output", "jsonl")
    assert [line.count('"node": "web-00') for line in found.stdout.splitlines()] == [1, 1]
    assert server.requests[-2]["node"] == "web-00*"
    assert run("--job-info", A, "--step", "1").returncode == 0
    beyond = run("--job-info", A, "--step", "2")
    assert beyond.returncode == 2 and "has 1 steps; they count from 1" in beyond.stderr
    assert run("--job-info", A, "--step", "0").returncode == 2


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_none_is_wanted(server: FakeServer, on_terminal: OnTerminal, variables: dict[str, str]) -> None:
    server.handlers["list-nodes"] = body(nodes(3))
    with on_terminal("--list-nodes", **variables) as terminal:
        assert terminal.end() == 0
        assert "\x1b" not in terminal.shown and "web-002" in terminal.shown


def test_a_listing_fits_a_narrow_terminal_and_is_whole_in_a_pipe(
    server: FakeServer, on_terminal: OnTerminal, run: Run
) -> None:
    reason = "the journal cannot be written: no space left on the device of the state folder"
    server.handlers["list-nodes"] = body(nodes(3, reason=reason))
    with on_terminal("--list-nodes", columns=60) as terminal:
        assert terminal.end() == 0
        lines = terminal.plain.splitlines()
    assert all(len(line) <= 60 for line in lines) and lines[1].endswith("…")
    assert [line.split()[0] for line in lines[1:]] == ["web-000", "web-001", "web-002"]
    assert "\x1b[32monline\x1b[0m" in terminal.shown and " ago" in terminal.plain
    assert run("--list-nodes").stdout.count(reason) == 3
    assert "2026-01-31T12:00:00Z" in run("--list-nodes").stdout


def test_more_nodes_than_lines_are_folded(server: FakeServer, on_terminal: OnTerminal, run: Run) -> None:
    server.handlers["list-nodes"] = body([*nodes(99), {**nodes(1)[0], "id": "db", "state": "offline"}])
    with on_terminal("--list-nodes", rows=40) as terminal:
        assert terminal.end() == 0
        lines = [line.split() for line in terminal.plain.splitlines()]
    assert lines == [
        ["COUNT", "STATE", "VERSION", "LABELS", "NODES", "REASON"],
        ["99", "online", "1", "tier=web", "web-[000-098]", "-"],
        ["1", "offline", "1", "tier=web", "db", "-"],
    ]
    with on_terminal("--list-nodes", "--per-node", rows=40) as terminal:
        assert terminal.end() == 0
        assert len(terminal.plain.splitlines()) == 101
    assert len(run("--list-nodes").stdout.splitlines()) == 101, "a row for each node in a pipe"


def test_nodes_by_a_fact(server: FakeServer, run: Run) -> None:
    rows = [{**row, "fact": "12" if number else None} for number, row in enumerate(nodes(4))]
    server.handlers["list-nodes"] = body(rows)
    done = run("--list-nodes", "--fact", "os.version")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["VALUE", "COUNT", "NODES"], ["12", "3", "web-[001-003]"], ["-", "1", "web-000"],
    ]  # fmt: skip
    assert server.requests[-1]["fact"] == "os.version"


def test_a_node_cannot_control_the_terminal(server: FakeServer, on_terminal: OnTerminal) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\x9b31m\rgone\n"
    server.handlers["wait"] = end
    server.handlers["job-info"] = body(info(A, "failed", "failed", stdout=evil, stderr=evil, reason=evil))
    for call in (("--job-info", A), ("--wait-job", A), ("--job-info", A, "--per-node")):
        with on_terminal(*call, NO_COLOR="1") as terminal:
            terminal.end()
            assert not set(terminal.shown.replace("\r\n", "\n")) & set("\x1b\x9b\x07\r")


def test_waiting_on_a_terminal_says_what_to_type_next(server: FakeServer, on_terminal: OnTerminal) -> None:
    server.handlers["wait"] = lambda header, channel: send(channel, "", more=False)
    server.handlers["job-info"] = body(failed_job())
    with on_terminal("--wait-job", A) as terminal:
        assert terminal.end() == 1
        assert f"director --resume {A}" in terminal.plain


def waits_until(done: threading.Event, waiting: Any = ()) -> Any:
    """A handler of `wait` that reports progress until `done` is set."""
    tasks = {"total": 1000, "success": 900, "running": 100}
    row = {"id": A, "state": "running", "tasks": tasks, "steps": 1, "nodes": {"total": 500, "done": 412, "failed": 0}}

    def handler(header: dict[str, Any], channel: Channel) -> None:
        while not done.wait(0.1):
            send(channel, {"jobs": [row], "waiting": list(waiting)}, more=True)
        end(header, channel)

    return handler


def test_progress_on_a_terminal_follows_its_size_and_leaves_nothing(
    server: FakeServer, on_terminal: OnTerminal
) -> None:
    done = threading.Event()
    server.handlers["wait"] = waits_until(done)
    server.handlers["job-info"] = body(info(A))
    with on_terminal("--wait-job", A, columns=100) as terminal:
        terminal.expect("412 of 500 nodes done, 0 failed, 88 waiting, 900 of 1000 tasks")
        terminal.resize(24, 40)
        terminal.expect("412 of 500 nodes done, 0 failed, 88 wai…")
        done.set()
        assert terminal.end() == 0
        assert "\x1b[?25h" in terminal.shown, "the cursor is shown again"
        assert terminal.plain.rstrip().endswith("1.00s")


@pytest.mark.parametrize(("words", "variables"), [(("--quiet",), {}), ((), {"TERM": "dumb"})], ids=["quiet", "dumb"])
def test_no_progress_where_none_is_wanted(
    server: FakeServer, on_terminal: OnTerminal, words: tuple[str, ...], variables: dict[str, str]
) -> None:
    done = threading.Event()
    server.handlers["wait"] = waits_until(done)
    server.handlers["job-info"] = body(info(A))
    threading.Timer(2.0, done.set).start()
    with on_terminal("--wait-job", A, *words, **variables) as terminal:
        assert terminal.end() == 0
        assert "nodes done" not in terminal.shown


def test_progress_has_no_colour_where_none_is_wanted(server: FakeServer, on_terminal: OnTerminal) -> None:
    done = threading.Event()
    server.handlers["wait"] = waits_until(done)
    server.handlers["job-info"] = body(info(A))
    with on_terminal("--wait-job", A, NO_COLOR="1") as terminal:
        terminal.expect("412 of 500 nodes done")
        done.set()
        assert terminal.end() == 0
        assert not re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", terminal.shown)


def test_no_progress_in_a_pipe(server: FakeServer, run: Run) -> None:
    done = threading.Event()
    server.handlers["wait"] = waits_until(done)
    server.handlers["job-info"] = body(info(A))
    threading.Timer(2.0, done.set).start()
    found = run("--wait-job", A)
    assert found.stderr == "" and "nodes done" not in found.stdout

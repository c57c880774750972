"""Questions before much is done at once, in a real terminal: yes, no, the typed number, and none without a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import Run
from cli.fake_server import FakeServer, body, job, send
from terminal import Terminal

A = "a" * 16
NODES = [f"web-{number}" for number in range(1, 13)]
MANY = {"confirm": {"nodes": NODES, "reboots": 0}}
RESTARTS = {"confirm": {"nodes": NODES, "reboots": 12}}
Open = Callable[..., Terminal]


@pytest.fixture
def terminal(environ: dict[str, str], tmp_path: Path) -> Open:
    """`director ARGV…` in a terminal."""
    return lambda *argv: Terminal([sys.executable, "-m", "director", *argv], environ, tmp_path)


def accepting(question: Any) -> Any:
    """A handler that asks unless the number of nodes is expected, then accepts."""

    def handler(header: dict[str, Any], channel: Any) -> None:
        expected = header.get("guard", {}).get("expect")
        send(channel, {"jobs": [{"id": A, "name": "x"}], "notes": []} if expected else question)

    return handler


@pytest.mark.parametrize(
    ("question", "shown", "answer", "code"),
    [
        (MANY, r"this runs on 12 nodes: web-\[1-12\]\nrun it on 12 nodes\? \[y/N\] ", "y", 0),
        (MANY, r"\[y/N\] ", "", 2),
        (MANY, r"\[y/N\] ", "no", 2),
        (RESTARTS, "it restarts 12 of them; type the number to go on: ", "12", 0),
        (RESTARTS, "type the number to go on: ", "y", 2),
    ],
)  # fmt: skip
def test_a_job_for_many_nodes(server: FakeServer, terminal: Open, question: Any, shown: str, answer: str, code: int):
    server.handlers["submit"] = accepting(question)
    with terminal("exec", "RUN uptime") as call:
        call.expect(shown)
        call.type(f"{answer}\n")
        assert call.end() == code
    guards = [request["guard"] for request in server.requests]
    assert guards == [{"ask_above": 100}, {"expect": 12}][: 2 if code == 0 else 1]
    assert (A in call.shown) == (code == 0)
    assert code == 0 or "nothing was" in call.shown


def test_resume_asks_too(server: FakeServer, terminal: Open):
    server.handlers["resume"] = accepting(MANY)
    with terminal("resume", "last", "--confirm-above", "3") as call:
        call.expect("y/N")
        call.type("y\n")
        assert call.end() == 0
    assert [request["guard"] for request in server.requests] == [{"ask_above": 3}, {"expect": 12}]
    assert len({request["new_id"] for request in server.requests}) == 1


def test_nobody_is_asked_with_yes_or_with_the_number(server: FakeServer, terminal: Open):
    server.handlers["submit"] = accepting({"jobs": [{"id": A, "name": "x"}], "notes": []})
    for words, guard in ((["-y"], None), (["--expect-nodes", "12"], {"expect": 12})):
        with terminal("exec", "RUN uptime", *words) as call:
            assert call.end() == 0
        assert server.requests[-1].get("guard") == guard


def test_nobody_is_asked_without_a_terminal(server: FakeServer, run: Run):
    server.handlers["submit"] = accepting({"jobs": [{"id": A, "name": "x"}], "notes": []})
    server.handlers["purge-nodes"] = server.handlers["purge-jobs"] = body({"count": 12})
    server.handlers["revoke-node"] = body({"nodes": NODES})
    for words in (["exec", "RUN uptime"], ["purge-nodes"], ["purge"], ["revoke-node", "all"]):
        assert run(*words).returncode == 0
    assert [request["do"] for request in server.requests] == ["submit", "purge-nodes", "purge-jobs", "revoke-node"]
    assert "guard" not in server.requests[0]


@pytest.mark.parametrize("words", [["purge-nodes"], ["revoke-node", "web-*"]])
def test_many_nodes_are_forgotten_or_revoked_by_their_number(server: FakeServer, terminal: Open, words: list[str]):
    server.handlers["list-nodes"] = body([{"id": name} for name in NODES])
    server.handlers[words[0]] = body({"count": 12, "nodes": NODES})
    for answer, code in (("11", 2), ("12", 0)):
        with terminal(*words) as call:
            call.expect(r"web-\[1-12\]")
            call.expect("12 nodes; type the number to go on: ")
            call.type(f"{answer}\n")
            assert call.end() == code
    assert [request["do"] for request in server.requests] == ["list-nodes", "list-nodes", words[0]]
    assert server.requests[-1]["node"] == "web-[1-12]"


def test_a_few_nodes_are_revoked_without_a_question(server: FakeServer, terminal: Open):
    server.handlers["list-nodes"] = body([{"id": name} for name in NODES[:10]])
    server.handlers["revoke-node"] = body({"nodes": NODES[:10]})
    with terminal("revoke-node", "web-*") as call:
        assert call.end() == 0
    assert "type the number" not in call.shown


def test_only_final_jobs_count(server: FakeServer, terminal: Open):
    rows = [job(f"{number:016x}", "running" if number < 3 else "success") for number in range(14)]
    server.handlers["list-jobs"], server.handlers["purge-jobs"] = body(rows), body({"count": 11})
    with terminal("purge", "--state", "success") as call:
        call.expect("this forgets 11 jobs; type the number to go on: ")
        call.type("11\n")
        assert call.end() == 0
    assert server.requests[1]["state"] == ["success"]

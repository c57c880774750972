"""Listings and single records: requests, all formats, imports."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from cli.conftest import Run
from cli.fake_server import FakeServer, body, info, job

NODE = {
    "id": "web-01", "state": "online", "address": "10.0.0.1", "version": "0.1.0", "labels": {"tier": "web"},
    "last_seen": "2026-01-31T12:00:00.000Z", "agent_uptime": 5.0, "host_uptime": 6.0, "key": "k", "reason": None,
}  # fmt: skip
ROWS = [job("a" * 16), job("b" * 16, "running", success=2, running=3)]


def test_the_request_of_a_listing(server: FakeServer, run: Run):
    server.handlers["list-jobs"] = server.handlers["list-nodes"] = body([])
    before = time.time()
    assert (
        run("--list-jobs", "--state", "failed,running", "--since", "10m", "--node", "web-*", "--limit", "5").returncode
        == 0
    )
    assert run("--list-jobs", "abc", "last").returncode == 0
    assert run("--list-nodes").returncode == 0
    assert run("--list-nodes", "--limit", "7", "--state", "online").returncode == 0
    first, second, third, fourth = server.requests
    assert before - 601 < first.pop("since") < time.time() - 599
    assert first == {"do": "list-jobs", "ids": [], "limit": 5, "state": ["failed", "running"], "node": "web-*"}
    assert (second["ids"], second["limit"]) == (["abc", "last"], 0)
    assert third == {"do": "list-nodes", "limit": 0, "token": None, "state": [], "since": None, "node": None}
    assert (fourth["limit"], fourth["state"]) == (7, ["online"])


def test_a_table(server: FakeServer, run: Run):
    server.handlers["list-jobs"] = body(ROWS)
    lines = run("--list-jobs").stdout.splitlines()
    assert lines[0].split()[:4] == ["ID", "STATE", "NAME", "DONE/TOTAL"]
    assert [line.split()[:2] for line in lines[1:]] == [["a" * 16, "success"], ["b" * 16, "running"]]
    assert "2/5" in lines[2]
    bare = run("--list-jobs", "--no-header").stdout.splitlines()
    assert [line.split() for line in bare] == [line.split() for line in lines[1:]]


def test_forms_for_programs(server: FakeServer, run: Run):
    server.handlers["list-jobs"] = body(ROWS)
    assert json.loads(run("--list-jobs", "--output", "json").stdout) == ROWS
    assert [json.loads(line) for line in run("--list-jobs", "--output=jsonl").stdout.splitlines()] == ROWS
    assert yaml.safe_load(run("--list-jobs", DIRECTOR_OUTPUT="yaml").stdout) == ROWS
    rows = list(csv.DictReader(io.StringIO(run("--list-jobs", "--output", "csv").stdout)))
    assert [(row["id"], row["state"]) for row in rows] == [("a" * 16, "success"), ("b" * 16, "running")]


def test_an_empty_listing_is_no_error(server: FakeServer, run: Run):
    server.handlers["list-jobs"] = body([])
    done = run("--list-jobs", "--output", "json")
    assert (json.loads(done.stdout), done.returncode, done.stderr) == ([], 0, "")
    done = run("--list-jobs", "--no-header")
    assert (done.stdout, done.returncode) == ("", 0)


def test_records(server: FakeServer, run: Run):
    node = {**NODE, "facts": {"os": {"id": "debian"}}, "args": {"A": "1"}}
    server.handlers["job-info"] = body(info())
    server.handlers["node-info"] = body(node)
    assert json.loads(run("--job-info", "last", "--output", "json").stdout) == info()
    assert json.loads(run("--node-info", "web-01", "--output", "json").stdout) == node
    assert "RUN uptime" in run("--job-info", "aaa").stdout
    assert "debian" in run("--node-info", "web-01").stdout
    assert [request.get("id") or request["node"] for request in server.requests] == ["last", "web-01", "aaa", "web-01"]


def test_a_body_in_several_frames(server: FakeServer, run: Run):
    data = json.dumps(info()).encode()

    def handler(header, channel):
        channel.send({"ok": True, "more": True, "cut": True}, data[:10])
        channel.send({"ok": True, "more": True, "cut": True}, data[10:50])
        channel.send({"ok": True, "more": False, "cut": False}, data[50:])

    server.handlers["job-info"] = handler
    assert json.loads(run("--job-info", "x", "--output", "json").stdout) == info()


@pytest.mark.parametrize("code", [1, 2, 5, 6, 7])
def test_the_servers_errors_are_one_line_and_their_exit_code(server: FakeServer, run: Run, code: int):
    server.handlers["job-info"] = lambda header, channel: channel.send({"error": "no\nsuch \x1b[31mjob", "exit": code})
    done = run("--job-info", "x")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "director: no\\nsuch \\x1b[31mjob\n")


def test_without_a_server(run: Run, tmp_path: Path):
    done = run("--list-jobs")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"director: no server answers at {tmp_path}/s")
    assert done.stderr.count("\n") == 1


def test_a_server_that_dies_before_its_answer(server: FakeServer, run: Run):
    server.handlers["list-jobs"] = lambda header, channel: channel.close()
    done = run("--list-jobs")
    assert (done.returncode, done.stderr) == (3, "director: the server ended the connection; ask again\n")


def test_a_server_that_sends_no_frames(server: FakeServer, run: Run):
    server.handlers["list-jobs"] = lambda header, channel: channel.sock.sendall(b"HTTP/1.1 400 Bad Request\r\n")
    done = run("--list-jobs")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1


def test_an_unknown_state_never_reaches_the_server(server: FakeServer, run: Run):
    done = run("--list-jobs", "--state", "runing")
    assert (done.returncode, server.requests) == (2, [])
    assert "did you mean running?" in done.stderr


def test_a_reader_that_leaves_is_silent(server: FakeServer, start):
    server.handlers["list-jobs"] = body([job(f"{n:016x}") for n in range(20_000)])
    process = start("--list-jobs")
    process.stdout.close()
    process.stdin.close()
    assert (process.stderr.read(), process.wait()) == ("", 0)
    process.stderr.close()


def test_streams_that_the_caller_has_closed(server: FakeServer, environ: dict[str, str]):
    server.handlers["list-jobs"] = body(ROWS)

    def shell(words: str) -> subprocess.CompletedProcess[str]:
        line = f"exec {sys.executable} -m director {words}"
        return subprocess.run(["sh", "-c", line], env=environ, capture_output=True, text=True)

    done = shell("--list-jobs >&-")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1) and "standard output is closed" in done.stderr
    done = shell("--list-jobs <&- 2>&-")
    assert done.returncode == 0 and "a" * 16 in done.stdout
    done = shell("--orchestrate - <&-")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "standard input is closed" in done.stderr


def test_a_full_disk_is_an_error(server: FakeServer, environ: dict[str, str]):
    server.handlers["list-jobs"] = body(ROWS)
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "director", "--list-jobs"]
        done = subprocess.run(command, env=environ, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "director: the answer cannot be written: No space left on device\n")


def test_help_usage_and_version(run: Run, environ: dict[str, str]):
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert "--exec" in done.stderr
    assert "--list-jobs" in run("--help").stdout
    assert run("--version").stdout.startswith("director ")
    done = run("ps")
    assert (done.returncode, done.stderr) == (2, "director: unexpected word 'ps'; did you mean --list-jobs?\n")
    done = run("--version", DIRECTOR_PROT="1")
    assert done.stderr == "director: warning: the variable DIRECTOR_PROT sets nothing; did you mean DIRECTOR_PORT?\n"


HEAVY = (
    "gevent",
    "zmq",
    "jinja2",
    "psutil",
    "yaml",
    "rich",
    "ujson",
    "re2",
    "socket",
    "typing",
    "dataclasses",
    "subprocess",
)
SHOW = """
import sys
from director.__main__ import main
code = main(sys.argv[1:])
sys.stderr.write(" ".join(name for name in {names!r} if name in sys.modules))
sys.exit(code)
"""


@pytest.mark.parametrize(
    "argv",
    [
        ["--list-jobs"],
        ["--list-nodes", "--output", "json"],
        ["--job-info", "x"],
        ["--node-info", "x"],
        ["--cancel-job", "x"],
        ["--exec", "RUN", "uptime"],
        ["--wait", "--exec", "RUN", "uptime"],
    ],
)
def test_a_users_call_loads_nothing_heavy(server: FakeServer, environ: dict[str, str], tmp_path: Path, argv: list[str]):
    (tmp_path / "c.yaml").write_text(f"socket-path: {tmp_path}/s # plain\ntimeout: 5m\n")
    server.handlers["list-jobs"], server.handlers["list-nodes"] = body(ROWS), body([NODE])
    server.handlers["job-info"], server.handlers["node-info"] = body(info()), body({**NODE, "facts": {}, "args": {}})
    answer = {"jobs": [{"id": "a" * 16, "name": "x", "was_final": False}], "notes": []}
    for name in ("cancel", "submit", "wait"):
        server.handlers[name] = body(answer)
    command = [sys.executable, "-c", SHOW.format(names=HEAVY), "--config-file", str(tmp_path / "c.yaml"), *argv]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    assert (done.stderr, done.returncode) == ("", 0)

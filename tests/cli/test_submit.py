"""Submissions: requests, sources, servers that die in between, answers and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli.conftest import Run
from cli.fake_server import FakeServer, body, end, info, send

from director.protocol.framing import Channel, close_all


def accept(header: dict[str, Any], channel: Channel) -> None:
    jobs = [{"id": file["id"], "name": file["name"]} for file in header["files"]]
    send(channel, {"jobs": jobs, "notes": ["exec:1: a note"]})


def test_exec_prints_the_id_alone(server: FakeServer, run: Run, tmp_path: Path):
    server.handlers["submit"] = accept
    done = run("--exec", "RUN uptime", "--target", "web-*", "--timeout", "5m", "--arg", "A=b=c", "--name", "x")
    (request,) = server.requests
    (file,) = request["files"]
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file['id']}\n", "director: exec:1: a note\n")
    assert len(file["id"]) == 16
    assert file == {
        "id": file["id"], "kind": "exec", "name": "exec", "form": "containerfile", "text": "RUN uptime",
        "folder": str(tmp_path),
    }  # fmt: skip
    assert request["options"] == {
        "target": ["web-*"], "timeout": 300.0, "valid_for": 3600.0, "no_cache": False, "args": {"A": "b=c"},
        "extend_args": False, "async": False, "name": "x",
    }  # fmt: skip


@pytest.mark.parametrize("stdout", [">/dev/full", ">&-"])
def test_an_id_that_cannot_be_written_is_in_the_error(server: FakeServer, environ: dict[str, str], stdout: str):
    server.handlers["submit"] = accept
    line = f"exec {sys.executable} -m director --exec 'RUN uptime' {stdout}"
    done = subprocess.run(["sh", "-c", line], env=environ, capture_output=True, text=True)
    id = server.requests[0]["files"][0]["id"]
    assert (done.returncode, done.stderr.splitlines()[1:]) == (1, [done.stderr.splitlines()[-1]])
    assert done.stderr.startswith("director: exec:1: a note\ndirector: the answer cannot be written: ")
    assert done.stderr.endswith(f"; accepted as {id}\n")


def test_ids_in_every_form(server: FakeServer, run: Run, tmp_path: Path):
    server.handlers["submit"] = accept
    (tmp_path / "a").write_text("RUN a")
    (tmp_path / "b").write_text("RUN b")
    assert json.loads(run("--exec", "RUN a", "--output", "json").stdout) == {
        "id": server.requests[-1]["files"][0]["id"]
    }
    done = run("--orchestrate", "a", "b", "--output", "yaml")
    assert yaml.safe_load(done.stdout) == [{"id": file["id"]} for file in server.requests[-1]["files"]]
    done = run("--orchestrate", "a", "b")
    assert done.stdout.split() == [file["id"] for file in server.requests[-1]["files"]]


def test_files_and_standard_input_are_read_by_the_call(server: FakeServer, run: Run, tmp_path: Path):
    server.handlers["submit"] = accept
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/site.yaml").write_bytes(b"\xef\xbb\xbf- jobs: []\n")
    assert run("--orchestrate", "sub/site.yaml", "-", input="RUN é\n").returncode == 0
    first, second = server.requests[0]["files"]
    assert (first["name"], first["text"], first["folder"]) == ("sub/site.yaml", "- jobs: []\n", str(tmp_path / "sub"))
    assert (second["name"], second["text"], second["folder"]) == ("-", "RUN é\n", str(tmp_path))
    assert first["form"] == second["form"] == "auto"


def test_an_unreadable_file_is_exit_2_and_nothing_is_sent(server: FakeServer, run: Run, tmp_path: Path):
    (tmp_path / "latin").write_bytes(b"RUN a\nRUN \xe9\n")
    (tmp_path / "large").write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    for argv, said in (
        (["none"], "none: No such file or directory"),
        (["."], ".: Is a directory"),
        (["latin"], "latin:2: a byte that is not UTF-8"),
        (["large"], "large: larger than 4 MiB"),
        (["-", "-"], "can be read only once"),
    ):
        done = run("--orchestrate", *argv)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert said in done.stderr
    assert server.requests == []


def wants(want: dict[str, Any], seen: list[tuple[dict[str, Any], list[bytes]]], final: Any = accept) -> Any:
    """A handler that asks for sources until the last frame, then goes on with `final`."""

    def handler(header: dict[str, Any], channel: Channel) -> None:
        channel.send({"want": want})
        while True:
            frame = channel.receive()
            assert frame is not None
            part, _, fds = frame
            seen.append((part, [os.read(fd, 1 << 20) for fd in fds]))
            close_all(fds)
            if not part.get("entries"):
                return final(header, channel)
            channel.send({"next": True})

    return handler


def test_sources_come_as_descriptors_in_pieces(server: FakeServer, run: Run, tmp_path: Path):
    (tmp_path / "tree/sub").mkdir(parents=True)
    for n in range(450):
        (tmp_path / f"tree/sub/{n:03}").write_text(f"{n:40000}")
    (tmp_path / "tree/link").symlink_to("sub")
    seen: list[tuple[dict[str, Any], list[bytes]]] = []
    server.handlers["submit"] = wants({"base": str(tmp_path), "pattern": "tree"}, seen)
    assert run("--exec", "COPY tree /x/").returncode == 0
    entries = [entry for part, _ in seen for entry in part["entries"]]
    contents = [data for _, read in seen for data in read]
    assert [len(part["entries"]) for part, _ in seen] == [203, 200, 50, 0]
    assert all(part.get("fds", 0) == len(read) <= 200 for part, read in seen)
    assert [entry["path"] for entry in entries[:4]] == ["", "link", "sub", "sub/000"]
    files = [entry for entry in entries if entry["kind"] == "file"]
    assert [entry["size"] for entry in files] == [len(data) for data in contents]
    assert contents == [f"{n:40000}".encode() for n in range(450)]


def test_small_files_of_a_folder_come_with_their_entries(server: FakeServer, run: Run, tmp_path: Path):
    (tmp_path / "tree").mkdir()
    for n in range(100):
        (tmp_path / f"tree/{n:03}").write_text(f"{n:20000}")
    (tmp_path / "tree/empty").touch()
    parts: list[tuple[dict[str, Any], bytes]] = []

    def take(header: dict[str, Any], channel: Channel) -> None:
        channel.send({"want": {"base": str(tmp_path), "pattern": "tree"}})
        while (frame := channel.receive()) and frame[0].get("entries"):
            parts.append(frame[:2])
            close_all(frame[2])
            channel.send({"next": True})
        channel.send({"error": "enough", "exit": 2})

    server.handlers["submit"] = take
    assert run("--exec", "COPY tree /x/").returncode == 2
    assert len(parts) == 2 and all(len(body) < 1.1e6 for _, body in parts)
    assert b"".join(body for _, body in parts) == b"".join(f"{n:20000}".encode() for n in range(100))
    entries = [entry for part, _ in parts for entry in part["entries"]]
    assert [entry["path"] for entry in entries if not entry.get("packed")] == ["", "empty"]


def test_a_want_may_be_repeated(server: FakeServer, run: Run, tmp_path: Path):
    for n in range(300):
        (tmp_path / f"f{n:03}").write_text(str(n))
    want = {"base": str(tmp_path), "pattern": "f*"}
    seen: list[tuple[dict[str, Any], list[bytes]]] = []

    def dying(header: dict[str, Any], channel: Channel) -> None:
        channel.send({"want": want})
        frame = channel.receive()
        assert frame is not None and len(frame[2]) == 200
        close_all(frame[2])
        wants(want, seen)(header, channel)

    server.handlers["submit"] = dying
    assert run("--exec", "COPY f* /x/").returncode == 0
    assert [len(read) for _, read in seen] == [200, 100, 0]


def test_an_unreadable_source_is_reported_to_the_server(server: FakeServer, run: Run, tmp_path: Path):
    seen: list[tuple[dict[str, Any], list[bytes]]] = []

    def refuse(header: dict[str, Any], channel: Channel) -> None:
        channel.send({"error": f"exec:1: {seen[0][0]['error']}", "exit": 2})

    want = {"base": str(tmp_path), "pattern": "none"}
    server.handlers["submit"] = wants(want, seen, refuse)
    done = run("--exec", "COPY none /x/")
    assert done.returncode == 2
    assert done.stderr == f"director: exec:1: none: no such file or folder ({tmp_path}/none)\n"


def test_a_submission_is_repeated_with_the_same_id(server: FakeServer, run: Run):
    def die(header: dict[str, Any], channel: Channel) -> None:
        server.handlers["submit"] = accept
        server.stop()
        threading.Timer(0.5, server.start).start()

    server.handlers["submit"] = die
    done = run("--exec", "RUN uptime")
    first, second = server.requests
    assert second == {**first, "again": True}, "so that a server that lost its memory can tell"
    assert (done.returncode, done.stdout) == (0, f"{first['files'][0]['id']}\n")


@pytest.mark.slow
def test_a_server_that_stays_away_is_given_up_after_ten_seconds(server: FakeServer, run: Run):
    server.handlers["submit"] = lambda header, channel: server.stop()
    done = run("--exec", "RUN uptime")
    id = server.requests[0]["files"][0]["id"]
    assert (done.returncode, done.stdout) == (3, "")
    assert f"director --list-jobs {id}" in done.stderr


def test_a_server_that_was_never_there_is_exit_3_at_once(run: Run):
    done = run("--exec", "RUN uptime")
    assert (done.returncode, done.stdout) == (3, "")


@pytest.mark.parametrize("code", [1, 2, 5])
def test_a_refusal_prints_no_id(server: FakeServer, run: Run, code: int):
    server.handlers["submit"] = lambda header, channel: channel.send({"error": "exec:1: no", "exit": code})
    done = run("--exec", "RUN uptime", "--wait")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "director: exec:1: no\n")


def test_the_manual_of_a_verb_needs_no_server(run: Run):
    done = run("--exec", "ECHO", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--timeout" in done.stdout and "ECHO" in done.stdout
    assert run("--exec", "ECHO --name x --help").stdout == done.stdout


def test_help_behind_the_argument_belongs_to_the_command(server: FakeServer, run: Run):
    server.handlers["submit"] = accept
    assert run("--exec", "RUN", "ls", "--help").returncode == 0
    assert server.requests[0]["files"][0]["text"] == "RUN ls --help"


def test_plan(server: FakeServer, run: Run, tmp_path: Path):
    plan = {
        "stages": [{"name": "", "nodes": ["web-01", "web-02"], "unmatched": []}],
        "steps": [{"index": 0, "verb": "RUN", "text": "RUN a", "stage": 0,
                   "nodes": [{"node": name, "action": "run", "reason": ""} for name in ("web-01", "web-02")]}],
        "warnings": ["exec:1: look out"],
    }  # fmt: skip
    server.handlers["plan"] = body(plan)
    done = run("--plan", "--exec", "RUN", "a")
    assert server.requests[0]["do"] == "plan"
    assert "web-[01-02]" in done.stdout
    assert done.stderr == "director: exec:1: look out\n"
    assert json.loads(run("--exec", "RUN a", "--plan", "--output", "json").stdout) == plan
    server.handlers["plan"] = body({"plans": [plan, plan]})
    (tmp_path / "a").write_text("RUN a")
    assert json.loads(run("--plan", "a", "a", "--output", "json").stdout) == [plan, plan]
    assert run("--plan", "a", "a").stdout.count("=== a\n") == 2


def test_resume_sends_only_the_options_that_were_given(server: FakeServer, run: Run):
    def handler(header: dict[str, Any], channel: Channel) -> None:
        send(channel, {"jobs": [{"id": header["new_id"], "name": "x"}], "notes": []})

    server.handlers["resume"] = handler
    done = run("--resume", "last", "--timeout", "5", "--no-cache")
    (request,) = server.requests
    assert done.stdout == f"{request['new_id']}\n"
    assert (request["id"], request["options"]) == ("last", {"timeout": 5.0, "no_cache": True})


def test_wait_prints_results_and_gives_their_code(server: FakeServer, run: Run):
    server.handlers["submit"] = accept
    server.handlers["wait"] = end
    for state, task, code in (
        ("success", "success", 0),
        ("failed", "failed", 1),
        ("incomplete", "expired", 8),
        ("cancelled", "cancelled", 8),
    ):
        answer = info(state=state, task=task)
        server.handlers["job-info"] = body(answer)
        done = run("--wait", "--exec", "RUN", "uptime")
        assert (done.returncode, "web-01" in done.stdout) == (code, True), done
        assert json.loads(run("--exec", "RUN uptime", "--wait", "--output", "json").stdout) == answer

"""The command line as people use it, in a real terminal, against a real fleet of three."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from harness import Fleet
from programs import require
from terminal import Terminal

pytestmark = pytest.mark.quick


def terminal(fleet: Fleet, *words: str) -> Terminal:
    """`director WORDS…` in a terminal."""
    return Terminal(fleet.command(*words), fleet.environment, fleet.folder)


def test_what_was_confirmed_is_what_runs(trio: Fleet) -> None:
    for answer, code in (("n", 2), ("y", 0)):
        with terminal(trio, "exec", "RUN true", "--confirm-above", "2", "--wait", "--name", "asked") as call:
            call.expect(r"this runs on 3 nodes: node-\[1-3\]")
            call.expect(r"\[y/N\] ")
            call.type(f"{answer}\n")
            assert call.end() == code
    assert [row["state"] for row in trio.run_json("jobs") if row["name"] == "asked"] == ["success"]
    job = trio.submit("exec", "RUN true", "-t", "node-[1-2]")
    trio.wait_job(job)
    with terminal(trio, "resume", job, "-t", "node-1", "--confirm-above", "1", "--wait") as call:
        assert call.end() == 0


def test_another_number_of_nodes_is_refused(trio: Fleet) -> None:
    before = len(trio.run_json("jobs"))
    done = trio.director("exec", "RUN true", "-t", "node-[1-2]", "--expect-nodes", "3")
    assert (done.returncode, done.stderr) == (
        5,
        "director: the target is 2 nodes now, not 3 (--expect-nodes); nothing was run\n",
    )
    assert len(trio.run_json("jobs")) == before
    assert trio.director("exec", "RUN true", "--expect-nodes", "3", "--wait").returncode == 0


def verdicts(fleet: Fleet, *words: str, exit_code: int = 0) -> dict[tuple[str, str], dict[str, str]]:
    """The findings of the doctor by part and check."""
    rows = fleet.run_json("doctor", *words, exit_code=exit_code)
    return {(row["part"], row["check"]): row for row in rows}


def test_the_doctor_of_a_server(trio: Fleet) -> None:
    folder = trio.folder / "server"
    found = verdicts(trio, "--state-dir", str(folder))
    assert {row["verdict"] for row in found.values()} <= {"ok", "warning"}
    for check in (
        "answers",
        "version",
        "--port",
        "--enroll-port",
        "state folder",
        "key",
        "ledger",
        "nodes",
        "descriptors",
    ):
        assert found["server", check]["verdict"] == "ok", found["server", check]
    assert found["server", "nodes"]["found"] == "3 online"
    assert "node-" in found["server", "slowest nodes"]["found"]
    (folder / "server").chmod(0o755)
    row = verdicts(trio, "--state-dir", str(folder), exit_code=1)["server", "state folder"]
    (folder / "server").chmod(0o700)
    assert (row["verdict"], row["remedy"]) == (
        "failed", f"others may read keys and results: chmod 700 {folder}/server",
    )  # fmt: skip


def test_the_doctor_of_a_client(trio: Fleet) -> None:
    words = ["--state-dir", str(trio.folder / "node-1")]
    found = verdicts(trio, *words)
    for check in ("runs", "state folder", "key", "server's key", "reaches the server", "enrolment port", "clock"):
        assert found["client", check]["verdict"] == "ok", found["client", check]
    assert str(trio.port) in found["client", "reaches the server"]["found"], (
        "it uses the settings of the client that runs"
    )
    pinned = trio.folder / "node-1/client/server.pub"
    key = pinned.read_text()
    pinned.write_text("s" * 40 + "\n")
    assert verdicts(trio, *words, exit_code=1)["client", "enrolment port"]["verdict"] == "failed"
    pinned.write_text(key)


def test_every_setting_with_its_source(trio: Fleet) -> None:
    done = trio.run_json("show-config", "--port", "7", env={"DIRECTOR_DRAIN": "3s"})
    rows = {row["setting"]: (row["value"], row["source"]) for row in done}
    assert (rows["port"], rows["drain"]) == ((7, "flag"), (3.0, "environment"))
    assert rows["config-file"][1] == "environment"
    assert {source for _, source in rows.values()} == {"flag", "environment", "default"}


SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], "PS1='ready> '; {load}", 'eval "$(director --completion bash)"'),
    "zsh": (["-f", "-i"], "PS1='ready> '; autoload -U compinit; compinit -u -D; {load}",
            'eval "$(director --completion zsh)"'),
    "fish": (["--no-config", "-i"], "function fish_prompt; echo 'ready> '; end; {load}",
             "director --completion fish | source"),
}  # fmt: skip


@pytest.fixture(scope="module")
def program(trio: Fleet) -> Path:
    """A folder with the command `director`."""
    path = trio.folder / "bin/director"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m director "$@"\n')
    path.chmod(0o755)
    return path.parent


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_in_a_real_shell(trio: Fleet, program: Path, shell: str) -> None:
    options, begin, load = SHELLS[shell]
    env = {
        **trio.environment, "PATH": f"{program}{os.pathsep}{os.environ['PATH']}",
        "DIRECTOR_SOCKET_PATH": str(trio.socket_path), "XDG_CONFIG_HOME": str(trio.folder / "home"),
    }  # fmt: skip
    job = trio.submit("exec", "RUN true")
    (trio.folder / "some.director").touch()
    with Terminal([require(shell, shell), *options], env, trio.folder, columns=200) as prompt:
        prompt.type(begin.format(load=load) + "; echo lo''aded\n")
        prompt.expect("loaded")
        for typed, whole in (
            ("director list-t", "list-tokens"),
            ("director --list-nod", "--list-nodes"),
            ("director jobs --output jsonl --sin", "--since"),
            ("director node no", "node-"),
            ("director exec 'RUN true' -t node-1,nod", "node-1,node-"),
            (f"director info {job[:9]}", job),
            ("director run some.", "some.director"),
        ):
            prompt.type(f"\x15{typed}\t")
            prompt.expect(whole)
        prompt.type("\x15director nodes --state=o\t\t")
        prompt.expect(r"offline[\s\S]*online|online[\s\S]*offline")

"""The audit log of a whole server: what people and nodes did, killed and changed, and at a syslog receiver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Fleet, wait_until
from syslog_receiver import Receiver


def log_of(fleet: Fleet) -> Path:
    """The only file of the log."""
    (path,) = (fleet.folder / "server").rglob("audit-*.jsonl")
    return path


def lines(fleet: Fleet) -> list[dict[str, Any]]:
    """All lines, as `--verify-audit` has waited for."""
    done = fleet.director("--verify-audit")
    assert done.returncode == 0 and "none is changed, missing or out of order" in done.stdout, done
    return [json.loads(line) for line in log_of(fleet).read_text().splitlines()]


def kill_all(fleet: Fleet) -> None:
    """Kill the server and its ledger process."""
    ledger = fleet.workers("ledger")
    fleet.kill("server", signal.SIGSTOP)
    for pid in ledger:
        os.kill(pid, signal.SIGKILL)
    fleet.kill("server")


def test_who_did_what_is_written_sent_and_kept(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    receiver = Receiver()
    fleet.start_server("--audit-to", f"tcp://127.0.0.1:{receiver.port}")
    fleet.wait_online(fleet.start_clients(2))
    (fleet.folder / "two.yaml").write_text("- targets: all\n  jobs:\n  - RUN: echo {{ PASSWORD }}\n")
    job = fleet.submit("--arg", "PASSWORD=tr0ub4dor", "--orchestrate", "two.yaml")
    fleet.wait_job(job)
    receiver.end()
    (fleet.folder / "wrong").write_text("RUN")
    assert fleet.director("--orchestrate", "wrong").returncode == 2, "what was not accepted has no line"
    assert fleet.director("--label-node", "node-1", "a=b").returncode == 0
    assert fleet.director("--list-jobs").returncode == fleet.director("--plan", "two.yaml").returncode == 0
    kill_all(fleet)
    fleet.restart("server")
    fleet.wait_server()
    receiver = Receiver(receiver.port)
    resumed = fleet.director("--resume", job).stdout.strip()
    rows = lines(fleet)
    wait_until(lambda: set(receiver.numbers) == {row["number"] for row in rows}, "the receiver has all lines")
    receiver.end()
    assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))
    assert "tr0ub4dor" not in log_of(fleet).read_text()
    commands = [row for row in rows if row["event"] == "command"]
    assert [row["command"] for row in commands] == ["submit", "label-node", "resume"]
    assert [row.get("job") for row in commands] == [job, None, resumed]
    assert {(row["user"], row["uid"], row["role"]) for row in commands} == {("root", os.getuid(), "admin")}
    assert (commands[0]["nodes"], commands[0]["node_count"]) == ("node-[1-2]", 2)
    assert commands[0]["arguments"]["options"]["args"] == ["PASSWORD"]
    assert commands[0]["arguments"]["text"] == (fleet.folder / "two.yaml").read_text()
    assert {row["nodes"] for row in rows if row["event"] == "enrolled"} == {"node-1", "node-2"}
    assert [row["event"] for row in rows].count("server-started") == 2

    text = log_of(fleet).read_text()
    log_of(fleet).write_text(text.replace("a=b", "a=c").replace('"a":"b"', '"a":"c"'))
    done = fleet.director("--verify-audit")
    assert done.returncode == 1
    words = done.stdout.splitlines()[1].split()
    assert words == [log_of(fleet).name, *[str(commands[1]["number"])] * 2, "was", "changed"]
    assert fleet.run_json("--verify-audit", exit_code=1)[0]["number"] == commands[1]["number"]


def test_the_user_who_logged_in_is_written_whoever_calls(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.start_server()
    login = ["sh", "-c", 'echo 61007 > /proc/self/loginuid && exec "$@"', "sh"]
    if subprocess.run([*login, "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this user may not begin a login session")
    for words in ([], login):
        command = fleet.command("--create-token")
        subprocess.run([*words, *command], env=fleet.environment, check=True, stdout=subprocess.DEVNULL)
    service, person = (row for row in lines(fleet) if row["event"] == "command")
    assert (person["user"], person["login_uid"], person["login_user"]) == ("root", 61007, "61007")
    if Path("/proc/self/loginuid").read_text() == str(2**32 - 1):
        assert (service["login_uid"], service["login_user"]) == (None, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--audit-to", "udp://x"], "--audit-to udp://x: expected tcp://HOST[:PORT] or tls://HOST[:PORT]"),
        (["--audit-to", "tls://x", "--audit-ca", "/none"], "--audit-ca /none: No such file or directory"),
        (["--audit-files", "1"], "--audit-files: '1' is out of range"),
    ],
)
def test_settings_that_cannot_be_used_stop_the_start(
    new_fleet: Callable[..., Fleet], words: list[str], said: str
) -> None:
    fleet = new_fleet()
    done = fleet.director("--server", "--state-dir", str(fleet.folder / "server"), *words)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr

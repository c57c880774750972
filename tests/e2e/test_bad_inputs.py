"""Bad inputs: each is one clear line and the right exit code, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Fleet, wait_until


@pytest.fixture
def node(fleet: Fleet) -> Fleet:
    """A server with one node, `node-1`."""
    fleet.wait_online(fleet.start_clients(1))
    return fleet


def one_line(done: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    """The call ended with `code`, printed nothing on stdout and one line with these words on stderr."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    for words in said:
        assert words in lines[0]


def refused(fleet: Fleet, code: int, said: tuple[str, ...], *args: str) -> None:
    """A submission that is refused leaves no job."""
    one_line(fleet.director(*args), code, *said)
    assert fleet.run_json("--list-jobs") == []


def write(fleet: Fleet, name: str, text: str) -> str:
    """A file in the fleet's folder; its path."""
    path = fleet.folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.quick
def test_refused_instructions(node: Fleet) -> None:
    refused(node, 2, ("exec:1", "RNU", "RUN"), "--exec", "RNU uptime")
    refused(node, 2, ("exec:1", "--skip-cahe", "--skip-cache"), "--exec", "RUN --skip-cahe true")
    refused(node, 2, ("exec:1", "RUN"), "--exec", "RUN")
    refused(node, 2, (), "--exec", "")
    refused(node, 2, ("--wiat", "--wait"), "--exec", "RUN true", "--wiat")
    refused(node, 5, ("nobody-*",), "--exec", "RUN true", "--target", "nobody-*")
    refused(node, 5, ("node-2", "node-1"), "--exec", "RUN true", "--target", "node-2")
    refused(node, 2, ("--arg facts",), "--exec", "RUN true", "--arg", "facts=1")
    refused(node, 2, ("exec:1", "--stdout-arg=query"), "--exec", "RUN --stdout-arg query true")
    refused(node, 2, ("--timeout", "0"), "--exec", "RUN true", "--timeout", "0")
    refused(node, 2, ("exec:1", "--timeout 0"), "--exec", "RUN --timeout 0 true")
    refused(node, 5, ("node-2", "node-1"), "--list-nodes", "--node", "node-2")
    refused(node, 2, ("exec:2", "braces", "--raw"), "--exec", "RUN true\nRUN echo {{ broken")


def test_a_filter_that_leaves_nothing_is_an_empty_list(node: Fleet) -> None:
    node.submit("--exec", "RUN true", "--wait")
    for listing in ("--list-nodes", "--list-jobs"):
        assert node.run_json(listing, "--node", "nobody-*") == []
        assert node.run_json(listing, "--since", "0") == []
        assert len(node.run_json(listing, "--since", "1h")) == 1
    assert node.run_json("--list-nodes", "--node", "label:tier=web") == []
    assert node.run_json("--purge-jobs", "--node", "nobody-*") == [{"count": 0}]
    assert len(node.run_json("--list-jobs")) == 1


def test_refused_files(node: Fleet) -> None:
    broken = write(node, "broken.yaml", "- jobs:\n  - RUN: true\n - RUN: [\n")
    refused(node, 2, ("broken.yaml:3",), "--orchestrate", broken)
    mapping = write(node, "mapping.yaml", "jobs:\n- RUN: true\n")
    refused(node, 2, ("mapping.yaml:1", "list"), "--orchestrate", mapping)
    missing = write(node, "missing.director", "RUN true\nCOPY no-such-file /tmp/x\n")
    refused(node, 2, ("missing.director:2", "no-such-file"), "--orchestrate", missing)
    refused(node, 2, ("nowhere.director",), "--orchestrate", str(node.folder / "nowhere.director"))


def as_ordinary_user() -> list[str]:
    """What to put before a command so that it may not read everything, when this is root."""
    lacking = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={lacking}", f"--inh-caps={lacking}"] if os.getuid() == 0 else []


def test_a_source_the_caller_may_not_read(node: Fleet) -> None:
    secret = Path(write(node, "secret", "for root only"))
    secret.chmod(0)
    command = [*as_ordinary_user(), *node.command("--exec", f"COPY {secret} /tmp/x")]
    done = subprocess.run(command, env=node.environment, capture_output=True, text=True, timeout=120, check=False)
    one_line(done, 2, "exec:1", str(secret))
    assert node.run_json("--list-jobs") == []


def test_a_destination_that_cannot_be_written(node: Fleet) -> None:
    source = write(node, "source", "text")
    write(node, "plain", "a file, no folder")
    job = node.run_json("--exec", f"COPY {source} {node.folder}/plain/below", "--wait", exit_code=1)
    task = job["steps"][0]["tasks"][0]
    assert task["state"] == "failed" and "plain" in task["reason"]


def test_no_server(new_fleet: Callable[..., Fleet]) -> None:
    alone = new_fleet()
    one_line(alone.director("--exec", "RUN true"), 3, str(alone.socket_path))
    one_line(alone.director("--list-jobs"), 3)


def test_a_second_server_on_the_port(fleet: Fleet, new_fleet: Callable[..., Fleet]) -> None:
    other = new_fleet()
    own = ("--bind-address", "127.0.0.1", "--enroll-port", str(other.enroll_port))
    state = ("--state-dir", str(other.folder / "server"))
    done = other.director("--server", *own, *state, "--port", str(fleet.port))
    one_line(done, 1, f"127.0.0.1:{fleet.port}", "another server")
    assert not other.socket_path.exists() and not (other.folder / "server").exists(), "nothing is left behind"
    ports = ("--port", str(other.port), "--enroll-port", str(fleet.enroll_port), "--bind-address", "127.0.0.1")
    one_line(other.director("--server", *ports, *state), 1, f"127.0.0.1:{fleet.enroll_port}", "another server")
    assert not (other.folder / "server").exists()


def test_a_second_server_on_the_state_folder(fleet: Fleet, new_fleet: Callable[..., Fleet]) -> None:
    other = new_fleet()
    ports = ("--port", str(other.port), "--enroll-port", str(other.enroll_port), "--bind-address", "127.0.0.1")
    done = other.director("--server", *ports, "--state-dir", str(fleet.folder / "server"))
    one_line(done, 1, str(fleet.pid("server")), os.uname().nodename)
    one_line(other.director("--server", "--store", "sqlit"), 2, "--store", "did you mean sqlite?")
    assert fleet.run_json("--list-nodes") == []


def test_a_client_that_meets_another_key(node: Fleet, new_fleet: Callable[..., Fleet]) -> None:
    node.stop("server")
    shutil.rmtree(node.folder / "server")  # the key is gone with it: the next server has another
    node.restart("server")
    told = wait_until(lambda: [line for line in node.log("node-1").splitlines() if "key" in line], "the client says so")
    assert "server" in told[-1] and stat.S_ISDIR(os.stat(node.folder / "node-1").st_mode)
    assert all(row["state"] != "online" for row in node.nodes().values())


def test_a_setting_nobody_knows(fleet: Fleet) -> None:
    config = write(fleet, "bad.yaml", "hearbeat-interval: 5s\n")
    one_line(fleet.director("--list-jobs", "--config-file", config), 2, "bad.yaml", "heartbeat-interval")
    done = fleet.director("--list-jobs", "--output", "json", env={"DIRECTOR_SOKET_PATH": "/x"})
    assert done.returncode == 0 and "DIRECTOR_SOCKET_PATH" in done.stderr

"""A disk that is full, on the server or on a node: said clearly, nothing damaged, and it goes on when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harness import Fleet, is_alive, tasks_of, wait_until

BIG = "RUN head -c 1000000 /dev/zero | tr '\\0' x"


class Disk:
    """A small file system that a test can fill."""

    def __init__(self, folder: Path, size: str) -> None:
        self.folder = folder
        folder.mkdir()
        self._root("mount", "-t", "tmpfs", "-o", f"size={size},uid={os.getuid()},mode=0700", "small", str(folder))

    def fill(self) -> None:
        """Leave no byte free."""
        with open(self.folder / "filler", "ab", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(b"\0" * 4096)

    def free(self) -> None:
        """Give all of it back."""
        (self.folder / "filler").unlink()

    def close(self) -> None:
        """Take it away, in use or not."""
        self._root("umount", "--lazy", str(self.folder))

    @staticmethod
    def _root(*command: str) -> None:
        subprocess.run([*([] if os.geteuid() == 0 else ["sudo", "-n"]), *command], check=True)


@pytest.fixture
def new_disk(new_fleet: Callable[..., Fleet]) -> Iterator[Callable[[Path, str], Disk]]:
    """Makes disks, which go after the fleet's processes."""
    made: list[Disk] = []

    def make(folder: Path, size: str) -> Disk:
        made.append(Disk(folder, size))
        return made[-1]

    yield make
    for disk in made:
        disk.close()


def test_a_server_without_room_refuses_and_forgets_nothing(
    new_fleet: Callable[..., Fleet], new_disk: Callable[[Path, str], Disk]
) -> None:
    fleet = new_fleet()
    disk = new_disk(fleet.folder / "server", "80m")
    fleet.start_server()
    fleet.wait_online(fleet.start_clients(2))
    (fleet.folder / "large").write_bytes(os.urandom(20 << 20))
    copy = fleet.director("--exec", f"COPY large {fleet.folder}/there")
    assert copy.returncode == 1 and "no room" in copy.stderr, copy.stderr

    go = fleet.folder / "go"
    job = fleet.submit("--exec", f"RUN until test -e {go}; do sleep 0.1; done\n{BIG}")
    wait_until(lambda: fleet.job(job)["tasks"]["running"] == 2, "both run")
    disk.fill()
    (fleet.folder / "long").write_text("RUN echo " + "x" * 1_000_000)
    refused = fleet.director("--orchestrate", "long")
    assert refused.returncode == 1 and "full" in refused.stderr, refused.stderr
    go.touch()
    wait_until(lambda: "cannot be written" in fleet.log("server"), "the ledger says that it cannot be written")
    refused = fleet.director("--exec", "RUN true")
    assert refused.returncode == 1 and "nothing can be accepted now" in refused.stderr and "full" in refused.stderr
    assert not fleet.job(job)["final"]
    assert {node["state"] for node in fleet.nodes().values()} == {"online"}

    disk.free()
    done = fleet.wait_job(job)
    assert done["state"] == "success"
    assert [len(task["stdout"]) for task in tasks_of(done)][2:] == [1_000_000] * 2
    assert len(fleet.run_json("--list-jobs")) == 1
    assert fleet.director("--exec", "RUN true", "--wait").returncode == 0


def test_what_cannot_be_written_is_not_done_but_a_job_can_be_cancelled(
    new_fleet: Callable[..., Fleet], new_disk: Callable[[Path, str], Disk]
) -> None:
    fleet = new_fleet()
    disk = new_disk(fleet.folder / "server", "80m")
    fleet.start_server()
    fleet.wait_online(fleet.start_clients(1))
    pid = fleet.folder / "pid"
    other = fleet.submit("--exec", "RUN sleep 1000")
    job = fleet.submit("--exec", f"RUN echo $$ > {pid}; exec sleep 1000")
    wait_until(lambda: pid.exists() and pid.read_text(), "it runs")
    disk.fill()
    refused = wait_until(lambda: not_done(fleet.director("--create-token")), "the log takes nothing more")
    assert refused.stderr.count("\n") == 1 and "written" in refused.stderr
    assert "No space left" in refused.stderr or "is full" in refused.stderr
    tokens = len(fleet.run_json("--list-tokens"))
    for words in (["--create-token"], ["--label-node", "node-1", "a=b"], ["--exec", "RUN true"]):
        refused = fleet.director(*words)
        assert (refused.returncode, refused.stdout) == (1, ""), refused
    assert len(fleet.run_json("--list-tokens")) == tokens and not fleet.nodes()["node-1"]["labels"]
    assert len(fleet.run_json("--list-jobs")) == 2
    cancel = fleet.begin("--cancel-job", other, job)
    wait_until(lambda: not is_alive(int(pid.read_text())), "the job's process is gone")

    disk.free()
    assert cancel.wait(60) == 0 and fleet.wait_job(job)["state"] == "cancelled"
    assert fleet.director("--create-token").returncode == 0
    checked = fleet.director("--verify-audit")
    assert checked.returncode == 0 and "none is changed" in checked.stdout, checked
    assert '"command":"cancel"' in "".join(path.read_text() for path in disk.folder.rglob("audit-*.jsonl"))


def not_done(call: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str] | None:
    """The call, when it was refused."""
    return call if call.returncode == 1 else None


def test_a_node_without_room_starts_nothing_and_keeps_results(
    new_fleet: Callable[..., Fleet], new_disk: Callable[[Path, str], Disk]
) -> None:
    fleet = new_fleet()
    disk = new_disk(fleet.folder / "node-1", "6m")
    fleet.start_server()
    fleet.wait_online(fleet.start_clients(2))
    mark, go = fleet.folder / "mark", fleet.folder / "go"
    first = fleet.submit("--exec", f"RUN until test -e {go}; do sleep 0.1; done; echo done; head -c 1000000 /dev/zero")
    wait_until(lambda: fleet.job(first)["tasks"]["running"] == 2, "both run")
    disk.fill()
    go.touch()
    second = fleet.submit("--exec", f"RUN echo $DIRECTOR_NODE >> {mark} # {'x' * 9000}")
    wait_until(lambda: "takes no steps" in (fleet.nodes()["node-1"]["reason"] or ""), "the node says why it takes none")
    wait_until(lambda: "cannot be kept" in fleet.log("node-1"), "its result waits")
    assert fleet.job(first)["tasks"]["success"] == 1

    def told() -> list[str]:
        shown = fleet.director("--wait-job", first, "--wait-timeout", "1s").stderr
        return [line for line in shown.splitlines() if "cannot be kept" in line]

    (why,) = wait_until(told, "a waiter is told")
    assert "waiting for node-1: the result of step 1 of job" in why and "No space left" in why
    assert "cannot be kept" in fleet.nodes()["node-1"]["reason"]
    wait_until(lambda: mark.exists() and mark.read_text() == "node-2\n", "the other node goes on")

    disk.free()
    assert fleet.wait_job(first)["state"] == fleet.wait_job(second)["state"] == "success"
    assert sorted(mark.read_text().split()) == ["node-1", "node-2"]
    wait_until(lambda: not fleet.nodes()["node-1"]["reason"], "nothing troubles it any more")

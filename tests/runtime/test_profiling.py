"""`--profile`: every process of a server, a client and a call writes its stacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Fleet, wait_until


@pytest.mark.slow
def test_each_process_writes_its_stacks(new_fleet: object, tmp_path: Path) -> None:
    fleet: Fleet = new_fleet()  # type: ignore[operator]
    folder = tmp_path / "profiles"
    fleet.start_server("--profile", str(folder), "--workers", "1")
    fleet.start_client("node-1", "--profile", str(folder))
    fleet.wait_online(["node-1"])
    assert fleet.director("--exec", "RUN true", "--wait", "--profile", str(folder)).returncode == 0
    fleet.stop("node-1")
    fleet.stop("server")

    def roles() -> dict[str, str]:
        return {path.name.split("-")[1]: path.read_text() for path in folder.glob("*.folded")}

    wait_until(lambda: {"server", "ledger", "planner", "client", "exec"} <= roles().keys(), "all have written")
    stacks = [line.rpartition(" ") for line in roles()["server"].splitlines()]
    assert stacks and all(count.isdecimal() for _, _, count in stacks)
    assert any("hub.py:run" in stack for stack, _, _ in stacks), "the hub waited in its loop"


def test_a_folder_that_cannot_be_made_is_one_line(new_fleet: object, tmp_path: Path) -> None:
    fleet: Fleet = new_fleet()  # type: ignore[operator]
    (tmp_path / "file").touch()
    done = fleet.director("--list-jobs", "--profile", str(tmp_path / "file"))
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "--profile" in done.stderr

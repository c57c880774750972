"""Bounds of a task and its end: fork bombs, zombies, a client that is suspended for a while.

Every fork bomb here runs as a user of its own who may have a few hundred processes, with a watchdog outside.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bounded import own_user, processes_of
from harness import is_alive, own_cgroup, remove_cgroup, wait_until
from test_process import Client, Ran, alive

from director.process import bounds, cgroup

MOST = 400  # processes of the bounded user


@pytest.fixture
def client() -> Iterator[Client]:
    one = Client()
    yield one
    one.stop()


@pytest.fixture(params=["without a cgroup", "with a cgroup"])
def placed(request: pytest.FixtureRequest, client: Client, tmp_path: Path) -> Iterator[Path | None]:
    """The client's cgroup, where it has one and one can be made."""
    top = own_cgroup() if request.param == "with a cgroup" else None
    name = f"director-bounds-{os.getpid()}"
    if top is not None:
        assert client.ask("enter_cgroup", str(tmp_path / "cgroup"), name)[1]
    yield top and top / name
    if top is not None:
        client.ask("leave_cgroup")
        left = (top / name).exists()
        remove_cgroup(top / name)
        assert not left, "it is removed, with those of tasks"


def stop_until(client: Client, over: Any) -> None:
    """Stop the client, as SIGSTOP or a paused machine does, until `over()`."""
    os.kill(client.popen.pid, signal.SIGSTOP)
    try:
        wait_until(over, "it is over", every=0.01)
    finally:
        os.kill(client.popen.pid, signal.SIGCONT)


def answer(client: Client) -> Any:
    assert client.popen.stdout
    return json.loads(client.popen.stdout.readline())


# a client that is stopped for a while


@pytest.mark.slow
def test_what_ended_in_time_has_not_timed_out_though_the_client_slept(client: Client, tmp_path: Path) -> None:
    line = f"echo $$ >{tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; sleep 0.5; echo done"
    client.send("run", {"argv": ["/bin/sh", "-c", line], "timeout": 1.5})
    wait_until((tmp_path / "pid").exists, "it runs", every=0.005)
    begin, pid = time.monotonic(), int((tmp_path / "pid").read_text())
    stop_until(client, lambda: not is_alive(pid) and time.monotonic() > begin + 2)
    ran = Ran.read(answer(client)[0])
    assert (ran.timed_out, ran.exit_code, ran.stdout) == (False, 0, b"done\n")


@pytest.mark.slow
def test_the_time_in_which_the_client_was_stopped_is_not_counted(client: Client, tmp_path: Path) -> None:
    """As when the machine is suspended: the task is stopped with the client."""
    line = f"touch {tmp_path}/in; while [ ! -e {tmp_path}/out ]; do sleep 0.02; done; echo done"
    client.send("run", {"argv": ["/bin/sh", "-c", line], "timeout": 60.0})
    wait_until((tmp_path / "in").exists, "it runs", every=0.005)
    begin = time.monotonic()
    stop_until(client, lambda: time.monotonic() > begin + 2.5)
    (tmp_path / "out").touch()
    ran = Ran.read(answer(client)[0])
    assert 2 < ran.suspended <= ran.duration and ran.exit_code == 0


@pytest.mark.slow
def test_a_time_out_comes_later_by_the_time_in_which_the_client_was_stopped(client: Client, tmp_path: Path) -> None:
    client.send("run", {"argv": ["/bin/sh", "-c", f"touch {tmp_path}/in; exec sleep 1000"], "timeout": 2.0})
    wait_until((tmp_path / "in").exists, "it runs", every=0.005)
    begin = time.monotonic()
    stop_until(client, lambda: time.monotonic() > begin + 2.5)
    ran = Ran.read(answer(client)[0])
    assert ran.timed_out and ran.exit_code == 143 and ran.duration >= 2.0 + ran.suspended - 0.01 > 3


# SIGTERM


def test_what_cleans_up_is_not_signalled_itself(client: Client, tmp_path: Path) -> None:
    """The `sleep`s within the trap begin after SIGTERM was sent."""
    work = f"for i in 1 2 3 4 5 6; do sleep 0.1; echo $? >>{tmp_path}/slept; done; exit 9"
    line = f"trap '{work}' TERM; sleep 100 & wait"
    ran = client.sh(line, timeout=0.4, grace=120.0)
    assert ran.timed_out and ran.exit_code == 9
    assert (tmp_path / "slept").read_text() == "0\n" * 6


def test_what_begins_within_the_grace_is_killed_at_its_end(client: Client) -> None:
    nap = f"1000.{os.getpid()}7"
    ran = client.sh(f"trap 'sleep {nap}; exit 9' TERM; sleep 100 & wait", timeout=0.4, grace=0.3)
    assert ran.timed_out and ran.exit_code == 137 and not alive(nap)


# bounds


def test_the_default_bound_is_a_quarter_of_what_the_system_allows(tmp_path: Path) -> None:
    for name, text in (("some", "400\n"), ("many", "1000000\n"), ("odd", "max\n")):
        (tmp_path / name).write_text(text)
    assert bounds.default_pids([str(tmp_path / "many"), str(tmp_path / "some")]) == 100
    assert bounds.default_pids([str(tmp_path / "many"), str(tmp_path / "odd")]) == bounds.MOST_PIDS
    assert 0 < bounds.default_pids() <= bounds.MOST_PIDS


def test_a_task_with_more_memory_than_it_may_have_is_ended(client: Client) -> None:
    eat = "import time; kept = bytearray(200 << 20); kept[::4096] = b'x' * len(kept[::4096]); time.sleep(1000)"
    ran = client.run(sys.executable, "-I", "-S", "-c", eat, memory=100 << 20, timeout=120.0)
    assert ran.error == "it took more than 100 MiB of memory (--task-memory)"
    assert ran.exit_code == 137 and not ran.timed_out
    assert client.run(sys.executable, "-I", "-S", "-c", "print(1)", memory=100 << 20).stdout == b"1\n"


@pytest.mark.slow
def test_a_task_with_many_processes_gets_a_cgroup_and_ends_as_any_other(
    client: Client, placed: Path | None, tmp_path: Path
) -> None:
    nap = f"1000.{os.getpid()}8"
    line = f"for i in 1 2 3 4 5 6 7 8 9 10; do for j in 1 2 3 4 5 6 7 8 9 10; do sleep {nap} & done; done; wait"
    fields = {"argv": ["/bin/sh", "-c", line], "grace": 120.0, "pids": 300}
    client.send("cancel_at", fields, str(tmp_path / "over"))
    wait_until(lambda: len(alive(nap)) == 100, "all of it runs")
    if placed is not None:
        wait_until(lambda: any(placed.glob("task-*")), "it has one", every=0.01)
        task = next(placed.glob("task-*"))
        wait_until(lambda: len(cgroup.members(str(task))) == 101, "all of it is there", every=0.01)
        assert client.popen.pid not in cgroup.members(str(task))
    (tmp_path / "over").touch()
    ran = Ran.read(answer(client))
    assert (ran.cancelled, ran.exit_code, ran.error) == (True, 143, "")
    assert client.ask("children") == [] and not alive(nap)


BOMBS = {
    "one group": "fork while 1",
    "sessions": "use POSIX; while (1) { fork; setsid }",
    "double forks": "use POSIX; while (1) { if (fork) { fork or exit } setsid }",
    "deaf": "$SIG{TERM} = 'IGNORE'; fork while 1",
}

if os.geteuid() == 0:  # only root can use another user

    @pytest.mark.slow
    @pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
    def test_a_fork_bomb_is_ended_at_the_bound(client: Client, placed: Path | None, bomb: str) -> None:
        with own_user(client.popen.pid, MOST) as fields:
            both = client.together(
                {"argv": ["perl", "-e", bomb], "pids": 100, "timeout": 120.0, "grace": 120.0, **fields},
                {"argv": ["/bin/sh", "-c", "sleep 0.5; echo neighbour"], "pids": 100},
            )
            left = processes_of(fields["uid"])
        assert both[0].error == "it took more than 100 processes (--task-pids)" and not both[0].timed_out
        assert (both[1].exit_code, both[1].stdout) == (0, b"neighbour\n")
        assert left == [] and client.ask("children") == []
        assert client.sh("echo well").stdout == b"well\n"
        assert os.sched_getscheduler(client.popen.pid) == os.SCHED_OTHER, "its priority is what it was"

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["sessions", "deaf"])
    def test_a_fork_bomb_below_the_bound_ends_with_its_time(client: Client, placed: Path | None, name: str) -> None:
        with own_user(client.popen.pid, MOST // 2) as fields:
            ran = client.run("perl", "-e", BOMBS[name], pids=10 * MOST, timeout=1.0, grace=0.5, **fields)
            left = processes_of(fields["uid"])
        assert ran.timed_out and ran.error == ""
        assert left == [] and client.ask("children") == []

    @pytest.mark.slow
    def test_a_bomb_that_a_step_leaves_behind_is_ended_at_the_bound(client: Client, placed: Path | None) -> None:
        with own_user(client.popen.pid, MOST) as fields:
            ran = client.sh("perl -e 'use POSIX; while (1) { fork; setsid }' & exit 0", pids=100, grace=120.0, **fields)
            left = processes_of(fields["uid"])
        assert ran.error == "it took more than 100 processes (--task-pids)"
        assert left == [] and client.ask("children") == []


# zombies


@pytest.mark.slow
def test_thousands_of_zombies_are_waited_for_in_slices(client: Client) -> None:
    """3,000 zombies become the client's children at once, when their parent ends."""
    assert reaped(client, 3000)


def reaped(client: Client, count: int) -> bool:
    """Make zombies that come to the client while nobody waits for them, then have it wait for all."""
    line = f"import os\nfor i in range({count}): os.fork() or os._exit(0)\n"
    ran = client.run(sys.executable, "-I", "-S", "-c", line, detach=True)
    wait_until(lambda: len(client.ask("children_list")) >= count, "they have come", 120, every=0.1)
    before, after, turns = client.ask("turns_while_reaping")
    assert not is_alive(ran.pid)
    return before >= count and after == 0 and turns > 1

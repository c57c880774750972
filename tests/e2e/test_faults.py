"""The ledger's promises under single faults: silence, kills, power loss, old folders, copies in mid-write."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clocks import Clock
from harness import ROOT, Fleet, cgroup_of, is_alive, marked_processes, own_cgroup, pids_in, tasks_of, wait_until

from director.config.settings import Settings
from director.errors import DirectorError
from director.ids import new_job_id
from director.library.connection import Connection
from director.library.submission import send

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "20"))  # moments at which the server is stopped; by hand 100


def states(job: dict[str, Any]) -> dict[tuple[int, str], str]:
    """State by step and node."""
    return {(task["step"], task["node"]): task["state"] for task in tasks_of(job)}


def task(job: dict[str, Any], step: int, node: str) -> dict[str, Any]:
    """One task."""
    return next(found for found in tasks_of(job) if (found["step"], found["node"]) == (step, node))


def of_tasks(fleet: Fleet) -> list[int]:
    """Processes of this fleet's tasks that live."""
    found = []
    for pid in marked_processes(fleet.folder):
        with contextlib.suppress(OSError):
            if b"DIRECTOR_JOB=" in Path(f"/proc/{pid}/environ").read_bytes() and is_alive(pid):
                found.append(pid)
    return found


def lines(path: Path) -> list[str]:
    """What tasks have written so far."""
    return path.read_text().splitlines() if path.exists() else []


# timeouts


@pytest.mark.quick
def test_a_timeout_ends_every_process(fleet: Fleet) -> None:
    fleet.wait_online(fleet.start_clients(1))
    job = fleet.run_json("--exec", "RUN sleep 1000 & sleep 1000", "--timeout", "2s", "--wait", exit_code=1)
    ended = task(job, 0, "node-1")
    assert ended["state"] == "timeout" and "2 s" in ended["reason"]
    assert of_tasks(fleet) == []


@pytest.mark.parametrize("text", ["RUN", "HEALTHCHECK --retries=1 CMD"])
def test_what_ended_in_time_has_not_timed_out_though_its_client_was_stopped(fleet: Fleet, text: str) -> None:
    fleet.wait_online(fleet.start_clients(1))
    script = fleet.folder / "work.sh"
    tell = f"echo $$ >{fleet.folder}/new; mv {fleet.folder}/new {fleet.folder}/pid"
    script.write_text(f"#!/bin/sh\n{tell}; sleep 1; echo done\n")
    script.chmod(0o755)
    job = fleet.submit("--exec", f"{text} {script}", "--timeout", "3s")
    wait_until((fleet.folder / "pid").exists, "it runs", every=0.01)
    begin, pid = time.monotonic(), int((fleet.folder / "pid").read_text())
    fleet.kill("node-1", signal.SIGSTOP)
    wait_until(lambda: time.monotonic() > begin + 4.5 and not is_alive(pid), "its time is over")
    fleet.kill("node-1", signal.SIGCONT)
    found = task(fleet.wait_job(job), 0, "node-1")
    assert found["state"] == "success", found


@pytest.mark.quick
def test_a_task_with_more_processes_than_it_may_have_fails_and_its_reason_says_so(fleet: Fleet) -> None:
    fleet.wait_online(fleet.start_clients(1, "--task-pids", "70"))
    line = "RUN i=0; while [ $i -lt 100 ]; do sleep 1000 & i=$((i+1)); done; wait"
    job = fleet.run_json("--exec", line, "--timeout", "60s", "--wait", exit_code=1)
    ended = task(job, 0, "node-1")
    assert (ended["state"], ended["reason"]) == ("failed", "it took more than 70 processes (--task-pids)")
    assert of_tasks(fleet) == []
    fleet.run_json("--exec", "RUN echo well", "--wait")


# offline nodes


def test_of_twenty_nodes_five_are_down(fleet: Fleet) -> None:
    names = fleet.start_clients(20)
    fleet.wait_online(names)
    down = names[:5]
    for name in down:
        fleet.kill(name)
    fleet.wait_state(down, "offline")

    submit = ["--exec", "RUN echo here", "--target", "node-[1-20]", "--valid-for"]
    fleet.submit(*submit, "1h")
    wait_until(lambda: _counts(fleet, success=15, queued=5), "fifteen have ended, five wait")
    back, away = down[:3], down[3:]
    for name in back:
        fleet.restart(name)
    wait_until(lambda: _counts(fleet, success=18), "three came back and ran it")

    shown = fleet.director(*submit, "2s", "--wait")
    assert shown.returncode == 8, shown.stderr
    assert "node-[4-5]" in shown.stdout and "expired" in shown.stdout and "offline" in shown.stdout
    job = fleet.job()
    assert job["state"] == "incomplete"
    assert sorted(name for (_, name), state in states(job).items() if state == "expired") == away


def _counts(fleet: Fleet, **wanted: int) -> bool:
    """Whether the newest job has so many tasks in these states."""
    listed = fleet.run_json("--list-jobs")
    return bool(listed) and all(listed[-1]["tasks"][state] == count for state, count in wanted.items())


def test_a_cancel_is_the_first_thing_a_silent_node_learns(fleet: Fleet) -> None:
    names = fleet.start_clients(3)
    fleet.wait_online(names)
    ran = fleet.folder / "ran"
    fleet.kill("node-3")
    fleet.wait_state(["node-3"], "offline")
    text = f"RUN echo $DIRECTOR_NODE >> {ran}; sleep 1000\nRUN echo second >> {ran}"
    job_id = fleet.submit("--exec", text, "--target", "node-[1-3]")
    wait_until(lambda: len(lines(ran)) == 2, "two nodes run it")
    fleet.kill("node-1", signal.SIGSTOP)
    fleet.wait_state(["node-1"], "offline")

    assert fleet.director("--cancel-job", job_id).returncode == 0
    wait_until(lambda: states(fleet.job(job_id))[0, "node-2"] == "cancelled", "it is cancelled where it ran")
    now = states(fleet.job(job_id))
    assert now[0, "node-3"] == now[1, "node-3"] == "cancelled", "at once where it was only waiting"
    assert now[0, "node-1"] in ("sent", "running"), "nobody has heard of its end"
    fleet.kill("node-1", signal.SIGCONT)
    fleet.restart("node-3")
    job = fleet.wait_job(job_id)
    assert job["state"] == "cancelled" and set(states(job).values()) == {"cancelled"}
    assert of_tasks(fleet) == []
    fleet.wait_online(names)
    assert sorted(lines(ran)) == ["node-1", "node-2"], "the cancelled job ran nowhere else"


def test_what_comes_after_lost_is_late(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet(beat="0.5s")
    fleet.start_server("--lost-after", "4s")
    fleet.wait_online(fleet.start_clients(1))
    ran, go = fleet.folder / "ran", fleet.folder / "go"
    waits = f"until test -e {go}; do sleep 0.05; done"
    job_id = fleet.submit("--exec", f"RUN echo begun >> {ran}; {waits}; echo out\nRUN echo second >> {ran}")
    wait_until(lambda: lines(ran) == ["begun"], "it runs")
    fleet.kill("node-1", signal.SIGSTOP)
    job = fleet.wait_job(job_id)
    assert job["state"] == "failed"
    assert states(job) == {(0, "node-1"): "lost", (1, "node-1"): "lost"}, "it was handed both"
    assert "--lost-after" in task(job, 0, "node-1")["reason"]

    go.touch()
    fleet.kill("node-1", signal.SIGCONT)
    late = wait_until(lambda: task(fleet.job(job_id), 0, "node-1")["late"], "the late result is shown")
    assert (late["state"], late["stdout"]) == ("success", "out\n")
    after = fleet.job(job_id)
    assert states(after) == states(job) and after["state"] == "failed", "it changes no state"
    fleet.wait_online(["node-1"])
    fleet.run_json("--exec", "RUN true", "--wait")
    assert lines(ran) == ["begun"], "what was lost before it began does not run"


# the client's host and folder


@contextlib.contextmanager
def booted(fleet: Fleet, name: str, boot: str) -> Iterator[None]:
    """A client on a machine that was booted under this id, until its power fails."""
    file = fleet.folder / f"boot-{boot}"
    file.write_text(f"{boot}\n")
    fleet.commands.pop(name, None)
    options = ["--client", "--server-address", f"127.0.0.1:{fleet.port}", "--enroll-port", str(fleet.enroll_port)]
    options += ["--identity", name, "--state-dir", str(fleet.folder / name)]
    script = f'mount --bind {file} /proc/sys/kernel/random/boot_id && exec "$@"'
    with open(fleet.folder / f"{name}.log", "ab") as log:
        fleet.processes[name] = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-m", "director", *options],
            cwd=ROOT, env=fleet.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    fleet.wait_online([name])
    yield
    fleet.kill(name)
    for pid in of_tasks(fleet):
        os.kill(pid, signal.SIGKILL)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="binds a file over the kernel's boot id, as root only")


@needs_root
def test_after_a_power_loss_what_was_handed_over_is_lost(fleet: Fleet) -> None:
    ran = fleet.folder / "ran"
    text = f"RUN echo 0 >> {ran}\nRUN echo 1 >> {ran}; sleep 1000\nRUN echo 2 >> {ran}"
    with booted(fleet, "node-1", "first"):
        job_id = fleet.submit("--exec", text)
        wait_until(lambda: lines(ran) == ["0", "1"], "the second step runs")
        wait_until(lambda: states(fleet.job(job_id))[0, "node-1"] == "success", "the first is on disk")
    with booted(fleet, "node-1", "second"):
        job = fleet.wait_job(job_id)
        assert states(job) == {(0, "node-1"): "success", (1, "node-1"): "lost", (2, "node-1"): "lost"}
        assert "host went down" in task(job, 2, "node-1")["reason"]
        assert fleet.run_json("--exec", "RUN echo well", "--wait")["state"] == "success"
    assert lines(ran) == ["0", "1"]


def test_what_hid_from_a_client_that_died_is_ended_by_the_next(fleet: Fleet, tmp_path: Path) -> None:
    """Without a cgroup of its own the client cannot know it, and lets it live."""
    hidden = "(env -i setsid sh -c 'sleep 1000 & echo $! >{0}.new; mv {0}.new {0}' &); exec sleep 1000"
    fleet.start_client("node-1")
    fleet.wait_online(["node-1"])
    fleet.run_json("--exec", f"RUN --no-block {hidden.format(tmp_path / 'kept')}", "--wait")
    job_id = fleet.submit("--exec", f"RUN {hidden.format(tmp_path / 'left')}")
    wait_until(lambda: (tmp_path / "kept").exists() and (tmp_path / "left").exists(), "both run")
    kept, left = (int((tmp_path / name).read_text()) for name in ("kept", "left"))
    try:
        fleet.kill("node-1")
        fleet.restart("node-1")
        assert states(fleet.wait_job(job_id)) == {(0, "node-1"): "lost"}
        assert (is_alive(kept), is_alive(left)) == (True, own_cgroup() is None)
        folder = cgroup_of(fleet.folder / "node-1" / "client" / "cgroup")
        assert (folder is None) == (own_cgroup() is None)
        assert fleet.stop("node-1") == 0
        if folder is not None:
            assert not (folder / "tasks").exists() and kept in pids_in(folder / "loose")
    finally:
        for pid in (kept, left):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_processes_that_end_while_the_server_is_away_are_reaped(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start_client("node-1")
    fleet.wait_online(["node-1"])
    file = tmp_path / "pid"
    orphan = f"(setsid sleep 1000 & echo $! > {file}.new; mv {file}.new {file})"
    fleet.run_json("--exec", f"RUN --no-block {orphan}", "--wait")
    wait_until(file.exists, "it runs")
    pid = int(file.read_text())
    try:
        fleet.kill("server")
        wait_until(lambda: "silent" in fleet.log("node-1"), "the client notices")
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the client waits for it")


def test_an_older_state_folder_runs_nothing_twice(fleet: Fleet) -> None:
    fleet.wait_online(fleet.start_clients(1))
    folder, old, ran = fleet.folder / "node-1", fleet.folder / "old", fleet.folder / "ran"
    first = fleet.submit("--exec", f"RUN echo 0 >> {ran}; sleep 1\nRUN echo 1 >> {ran}; sleep 1000")
    wait_until(lambda: lines(ran) == ["0"], "the first step runs")
    shutil.copytree(folder, old)
    wait_until(lambda: lines(ran) == ["0", "1"], "the second step runs")
    wait_until(lambda: states(fleet.job(first))[1, "node-1"] == "running", "the server knows")
    fleet.submit("--exec", f"RUN echo unknown >> {ran}; setsid sleep 1000 & sleep 1000")
    wait_until(lambda: lines(ran)[2:] == ["unknown"], "a step runs of which the older folder knows nothing")
    fleet.kill("node-1")
    shutil.rmtree(folder)
    old.rename(folder)
    fleet.restart("node-1")

    job = fleet.wait_job(first)
    assert states(job) == {(0, "node-1"): "success", (1, "node-1"): "lost"}
    assert "state folder" in task(job, 1, "node-1")["reason"]
    assert fleet.run_json("--exec", "RUN true", "--wait")["state"] == "success"
    assert lines(ran) == ["0", "1", "unknown"], "nothing ran twice"
    left = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in marked_processes(fleet.folder) if is_alive(pid)]
    assert not [command for command in left if b"sleep" in command], "all of it has ended"


def test_a_cloned_state_folder_runs_nothing_twice(fleet: Fleet) -> None:
    fleet.wait_online(fleet.start_clients(1))
    fleet.run_json("--exec", "RUN true", "--wait")
    shutil.copytree(fleet.folder / "node-1", fleet.folder / "clone")
    fleet.start_client("clone", "--identity", "node-1")
    ran = fleet.folder / "ran"
    jobs: list[str] = []

    def submit() -> bool:
        """The clone comes at some moment between the jobs."""
        jobs.append(fleet.submit("--exec", f"RUN echo {len(jobs)} >> {ran}; sleep 0.3", "--target", "node-1"))
        return len(jobs) > 5 and "its state folder was copied" in fleet.log("clone")

    wait_until(submit, "the clone is refused", every=0.5)
    node = fleet.run_json("--node-info", "node-1")
    assert "two clients have its key" in node["reason"]
    fleet.stop("clone")
    assert fleet.director("--accept-node", "node-1", "--key", node["key"]).returncode == 0
    for number, job_id in enumerate(jobs):
        job = fleet.wait_job(job_id)
        assert job["state"] == "success" and lines(ran).count(str(number)) == 1
    assert fleet.run_json("--exec", "RUN true", "--wait")["state"] == "success"


def test_nodes_are_not_forgotten_because_the_server_has_just_begun(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet(beat="0.5s")
    fleet.start_server()
    fleet.wait_online(fleet.start_clients(1))
    job_id = fleet.submit("--exec", f"RUN until test -e {fleet.folder}/go; do sleep 0.1; done")
    wait_until(lambda: states(fleet.job(job_id))[0, "node-1"] == "running", "it runs")
    fleet.kill("node-1", signal.SIGSTOP)
    fleet.kill("server")
    fleet.restart("server")
    assert fleet.nodes()["node-1"]["state"] == "offline"
    assert fleet.director("--purge-nodes").stdout == "forgot 0 nodes\n"
    fleet.kill("node-1", signal.SIGCONT)
    fleet.wait_online(["node-1"])
    (fleet.folder / "go").touch()
    assert fleet.wait_job(job_id)["state"] == "success"
    waiting = fleet.submit("--exec", "RUN sleep 1000", "--target", "node-1")
    wait_until(lambda: states(fleet.job(waiting))[0, "node-1"] == "running", "it runs")
    fleet.kill("node-1", signal.SIGSTOP)
    fleet.wait_state(["node-1"], "offline")
    assert fleet.director("--purge-nodes").stdout == "forgot 1 node\n"
    ended = fleet.wait_job(waiting)
    assert ended["state"] == "failed" and "purged" in task(ended, 0, "node-1")["reason"]
    fleet.kill("node-1", signal.SIGCONT)
    fleet.wait_online(["node-1"])
    assert fleet.run_json("--exec", "RUN true", "--wait")["state"] == "success", "it has come anew"


# clocks


def test_a_clock_that_is_set_expires_nothing_and_keeps_nothing_waiting(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet(beat="0.4s")
    clock = Clock(fleet.folder, "server")
    fleet.environment.update(clock.environment(fleet))
    fleet.start_server()
    fleet.wait_online(fleet.start_clients(2))
    fleet.kill("node-2")
    fleet.wait_state(["node-2"], "offline")
    short = fleet.submit("--exec", "RUN true", "--target", "node-2", "--valid-for", "2s")
    clock.set(-86400)
    assert states(fleet.wait_job(short)) == {(0, "node-2"): "expired"}
    long = fleet.submit("--exec", "RUN true", "--target", "node-2", "--valid-for", "1h")
    clock.set(7200)
    done = fleet.run_json("--exec", "RUN sleep 0.5", "--target", "node-1", "--wait")
    assert done["state"] == "success" and next(tasks_of(done))["roundtrip_time"] < 3600
    fleet.kill("server")
    fleet.restart("server")
    fleet.restart("node-2")
    assert states(fleet.wait_job(long)) == {(0, "node-2"): "success"}, "two hours by the clock have not passed"


# the server's ledger


class Submitter:
    """Submits small jobs over the socket, several at a time; `known` are the ids that were acknowledged."""

    def __init__(self, fleet: Fleet, threads: int = 4) -> None:
        self.known: list[str] = []
        self._settings = Settings(socket_path=str(fleet.socket_path))
        self._folder = str(fleet.folder)
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Submitter:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(60)

    def wait_for_more(self, count: int) -> None:
        """Return when so many more jobs were acknowledged."""
        before = len(self.known)
        wait_until(lambda: len(self.known) >= before + count, f"{count} more jobs are accepted")

    def _run(self) -> None:
        while not self._end.is_set():
            job = new_job_id()
            file = {"id": job, "kind": "exec", "name": "exec", "form": "auto", "text": "RUN true\n" * 3,
                    "folder": self._folder}  # fmt: skip
            with contextlib.suppress(DirectorError):  # the server is down; what it may have taken is not counted
                link, _ = send(self._settings, {"do": "submit", "files": [file], "options": {}}, [job])
                link.close()
                self.known.append(job)


def jobs_in(copy: Path) -> set[str]:
    """The jobs in a copy of the ledger, which must be well."""
    with contextlib.closing(sqlite3.connect(copy)) as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {row[0] for row in ledger.execute("SELECT id FROM jobs")}


def ledger_of(fleet: Fleet) -> Path:
    """The server's database."""
    return fleet.folder / "server" / "server" / "ledger.sqlite"


@pytest.mark.alone
def test_a_copy_at_any_moment_holds_every_acknowledged_job(fleet: Fleet, tmp_path: Path) -> None:
    fleet.wait_online(fleet.start_clients(2))
    dice = random.Random(4)
    with Submitter(fleet) as submitter:
        for number in range(ROUNDS):
            submitter.wait_for_more(5)
            time.sleep(dice.uniform(0, 0.1))  # any moment will do
            kill = number % 2
            os.killpg(fleet.pid("server"), signal.SIGKILL if kill else signal.SIGSTOP)
            known = set(submitter.known)
            if kill:
                fleet.processes["server"].wait(120)
            copy = tmp_path / f"{number}.sqlite"
            for ending in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy(f"{ledger_of(fleet)}{ending}", f"{copy}{ending}")
            if kill:
                fleet.restart("server")
            else:
                os.killpg(fleet.pid("server"), signal.SIGCONT)
            assert known <= jobs_in(copy), f"round {number}"
    shown = {job["id"] for job in fleet.run_json("--list-jobs", "--limit", "0")}
    assert set(submitter.known) <= shown


@pytest.mark.alone
def test_a_backup_of_a_running_server_holds_every_acknowledged_job(fleet: Fleet, tmp_path: Path) -> None:
    fleet.wait_online(fleet.start_clients(2))
    copy = tmp_path / "copy.sqlite"
    with Submitter(fleet) as submitter:
        for _ in range(max(3, ROUNDS // 4)):
            submitter.wait_for_more(5)
            known = set(submitter.known)
            backup(fleet.folder / "server", copy)
            assert known <= jobs_in(copy)


def backup(source: Path, target: Path) -> str:
    """Run scripts/backup; what it printed."""
    command = [sys.executable, str(ROOT / "scripts/backup"), str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_server_goes_on_from_its_backup(fleet: Fleet, tmp_path: Path) -> None:
    fleet.wait_online(fleet.start_clients(1))
    job = fleet.run_json("--exec", "RUN echo kept", "--wait")
    copy, ran = tmp_path / "copy.sqlite", fleet.folder / "ran"
    waits = "until test -e {}; do sleep 0.05; done"
    steps = [
        waits.format(copy),
        *(f"echo {number} >> {ran}; echo out" for number in range(3)),
        waits.format(f"{copy}.go"),
    ]
    under_way = fleet.submit("--exec", "\n".join(f"RUN {step}" for step in [*steps, f"echo 3 >> {ran}"]))
    wait_until(lambda: states(fleet.job(under_way))[0, "node-1"] == "running", "the first step runs")
    assert "copy.sqlite" in backup(fleet.folder / "server", copy)
    wait_until(
        lambda: states(fleet.job(under_way))[3, "node-1"] == "success", "the job goes on after the copy was made"
    )
    fleet.stop("server")
    for path in ledger_of(fleet).parent.glob("ledger.sqlite*"):
        path.unlink()
    shutil.copy(copy, ledger_of(fleet))
    fleet.restart("server")
    assert fleet.job(job["id"]) == job
    fleet.wait_online(["node-1"])
    Path(f"{copy}.go").touch()
    known = fleet.wait_job(under_way)
    assert set(states(known).values()) == {"success"}, "how its steps ended is told once more"
    assert lines(ran) == ["0", "1", "2", "3"], "and nothing ran twice"
    assert task(known, 1, "node-1")["truncated"] == 4, "their output is gone"
    assert fleet.run_json("--exec", "RUN true", "--wait")["state"] == "success"


def test_a_backup_of_nothing_says_so(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts/backup"), str(tmp_path), str(tmp_path / "copy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and "no ledger here" in done.stderr and list(tmp_path.iterdir()) == []


# many at once

SHELLS, EACH = 20, 25


@pytest.mark.alone
@pytest.mark.timeout(3600)
def test_five_hundred_submissions_from_twenty_shells(fleet: Fleet) -> None:
    """What a listing takes meanwhile is measured by scripts/bench submissions."""
    fleet.wait_online(fleet.start_clients(2))
    command = " ".join(fleet.command("--exec", '"RUN echo $i"'))
    loop = ["sh", "-c", f"for i in $(seq {EACH}); do {command} || echo refused; done"]
    shells = [subprocess.Popen(loop, stdout=subprocess.PIPE, text=True, env=fleet.environment) for _ in range(SHELLS)]
    with contextlib.closing(Connection(Settings(socket_path=str(fleet.socket_path)))) as link:
        while any(shell.poll() is None for shell in shells):
            rows = link.ask({"do": "list-jobs", "limit": 100})
            assert len({row["id"] for row in rows}) == len(rows)
            time.sleep(0.05)  # a person who looks, not a load of its own
    answers = [line for shell in shells for line in shell.communicate()[0].split()]
    accepted = [answer for answer in answers if answer != "refused"]
    assert len(answers) == SHELLS * EACH and len(set(accepted)) == len(accepted)
    wait_until(lambda: all(job["final"] for job in _all_jobs(fleet)), "all are final", every=0.5)
    jobs = _all_jobs(fleet)
    assert set(accepted) <= {job["id"] for job in jobs}
    assert Counter(job["state"] for job in jobs) == {"success": len(accepted)}


def _all_jobs(fleet: Fleet) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = fleet.run_json("--list-jobs", "--limit", "0")
    return jobs

"""An enrolled node attacks the server at full speed: what it sends is bounded, it is named, and other nodes go on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ujson
from harness import Fleet, is_alive, tasks_of, wait_until
from stranger import Stranger, stranger

MIB = 1 << 20


@contextlib.contextmanager
def hostile(fleet: Fleet, name: str = "hostile") -> Iterator[Stranger]:
    """An enrolled node that has a session and is no client of ours."""
    key = (fleet.folder / "server" / "server" / "curve.key").read_text().split()[0]
    with stranger(fleet.port, key) as peer:
        assert peer.enroll(name)[0] == "enrolled"
        assert peer.hello(name) is not None
        yield peer


def memory(fleet: Fleet) -> int:
    """Bytes of memory that the server and its workers have."""
    found = 0
    for pid in (fleet.pid("server"), *(pid for kind in ("ledger", "files") for pid in fleet.workers(kind))):
        if is_alive(pid):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            found += pages * 4096
    return found


def given_step(peer: Stranger, job: str) -> None:
    """Wait until the peer holds the job's first step."""
    while (fields := peer.next("slice", 30)) is not None:
        if fields["job"] == job:
            return
    raise AssertionError(f"no slice of {job}")


def others_go_on(fleet: Fleet, count: int = 5) -> None:
    """Jobs of another node succeed."""
    for number in range(count):
        job = fleet.run_json("--exec", f"RUN echo {number}", "--target", "web", "--wait")
        assert job["state"] == "success"


@pytest.fixture
def web(fleet: Fleet) -> Fleet:
    """A server with an honest node `web`."""
    fleet.start_client("web")
    fleet.wait_online(["web"])
    return fleet


def test_a_list_of_enormous_files_takes_no_memory(web: Fleet, tmp_path: Path) -> None:
    with hostile(web) as peer:
        job = web.submit("--exec", f"FETCH /etc/hostname {tmp_path}/out/", "--target", "hostile")
        given_step(peer, job)
        before = memory(web)
        rows: list[Any] = [["file", f"f{n}", 0o644, 1 << 42, f"{n:064x}", "", ""] for n in range(100)]
        where = {"job": job, "step": 0, "set": 0, "part": 0, "parts": 1}
        peer.send("offer", ujson.dumps(rows).encode(), **where, error="")
        stored = peer.next("stored", 30)
        assert stored is not None, f"no answer; memory grew by {(memory(web) - before) // MIB} MiB"
        assert "no room" in stored["error"]
        for number in range(70):  # lists that never end
            body = b"[" + b" " * MIB + b"]"
            peer.send("offer", body, **{**where, "part": number, "parts": 71}, error="")
        others_go_on(web, 2)
        assert memory(web) - before < 200 * MIB


def row(step: int, out: int = 0, reason: str | None = None) -> list[Any]:
    """A result as clients send it."""
    return [step, "S", 0, 1.0, 2.0, 0.1, 0.0, 1, reason, 0, out, 0, None]


def test_results_of_tasks_that_a_node_never_had_leave_no_rows(web: Fleet) -> None:
    done = web.run_json("--exec", "RUN echo theirs", "--target", "web", "--wait")["id"]
    stepwise = web.submit("--exec", "RUN false\nRUN never", "--target", "web")
    web.wait_job(stepwise)
    with hostile(web) as peer:
        own = web.submit("--exec", "RUN echo own\nRUN echo more", "--target", "hostile")
        given_step(peer, own)
        payload = b"x" * MIB
        for number in range(40):  # 40 MiB
            jobs = [[job, [row(number, MIB)], [], []] for job in (done, stepwise, own, "unknown")[number % 4 :][:1]]
            peer.send("results", payload, number=number, journal_position=number, jobs=jobs)
        jobs = [[own, [row(0, 3 * MIB, "r" * 3 * MIB)], [], []]]
        peer.send("results", b"y" * 3 * MIB, number=99, journal_position=99, jobs=jobs)
        others_go_on(web, 2)
    wait_until(lambda: tasks_by_step(web, own)[0]["state"] == "success", "its own result is there")
    for job in (done, stepwise):
        assert all(task["late"] is None for task in tasks_of(web.job(job)))
    task = tasks_by_step(web, own)[0]
    assert len(task["stdout"]) == MIB and task["truncated"] == 2 * MIB and len(task["reason"]) <= 4000
    written = sum(path.stat().st_size for path in (web.folder / "server" / "server").glob("ledger.sqlite*"))
    assert written < 12 * MIB, f"the ledger has {written // MIB} MiB"


def tasks_by_step(fleet: Fleet, job: str) -> dict[int, dict[str, Any]]:
    """The tasks of a job that has one node."""
    return {task["step"]: task for task in tasks_of(fleet.job(job))}

"""An enrolled node attacks the server at full speed: what it sends is bounded, it is named, and other nodes go on."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ujson
import zmq
from harness import Fleet, is_alive, tasks_of, wait_until
from simulation.stranger import Stranger, stranger

from director.protocol import messages
from director.protocol.packing import pack

MIB = 1 << 20


@contextlib.contextmanager
def hostile(fleet: Fleet, name: str = "hostile", most: int = 1000) -> Iterator[Stranger]:
    """An enrolled node that has a session and is no client of ours."""
    key = (fleet.folder / "server" / "server" / "curve.key").read_text().split()[0]
    with stranger(fleet.port, key, most=most) as peer:
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
        jobs = [[own, [row(0, 3 * MIB, "r" * 3 * MIB)], [], []]]
        peer.send("results", b"y" * 3 * MIB, number=0, journal_position=0, jobs=jobs)
        payload = b"x" * MIB
        for number in range(1, 41):  # 40 MiB
            jobs = [[job, [row(number, MIB)], [], []] for job in (done, stepwise, own, "unknown")[number % 4 :][:1]]
            peer.send("results", payload, number=number, journal_position=number, jobs=jobs)
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


def flood(peer: Stranger, frames: Callable[[int], bytes], count: int) -> int:
    """Send so many messages as fast as the connection takes them; how many it took before it was gone."""
    for number in range(count):
        frame = frames(number)
        while True:
            try:
                peer.socket.send(frame, zmq.NOBLOCK)
                break
            except zmq.Again:
                if not peer.socket.poll(3000, zmq.POLLOUT):
                    return number
    return count


def profile(number: int) -> bytes:
    """0.8 MiB of facts that are new each time."""
    return pack([messages.encode("profile", facts={"n": number, "x": "y" * 800_000}, args={})])


def get(number: int) -> bytes:
    return pack([messages.encode("get", job="j", step=0, set=0, ranges=[[f"{number:064x}", 0, 1 << 20]], anew=False)])


def noise(number: int) -> bytes:
    return pack([b'["results",' + b"[" * 5000, bytes(100)]) if number % 2 else b"[" * 2000


def contents(number: int) -> bytes:
    where = {"job": "j", "step": 0, "set": 0, "ranges": [["0" * 64, number, 1 << 20]]}
    return pack([messages.encode("contents", **where, error=""), bytes(1 << 20)])


def output(number: int) -> bytes:
    return pack([messages.encode("output", pieces=[["j", 0, 1, 0, number << 16, 1 << 16]]), bytes(1 << 16)])


@pytest.mark.parametrize(
    ("frames", "count"),
    [(profile, 1000), (get, 200_000), (noise, 200_000), (contents, 2000), (output, 20_000)],
    ids=lambda x: str(x)[10:17],
)
def test_a_node_that_sends_without_end_is_cut_off_and_named(
    web: Fleet, frames: Callable[[int], bytes], count: int
) -> None:
    before = memory(web)
    with hostile(web) as peer, ThreadPoolExecutor(1) as pool:
        taken = pool.submit(flood, peer, frames, count)
        others_go_on(web)
        assert taken.result(120) < count, "its connection stayed"
        row = wait_until(lambda: (found := web.nodes()["hostile"])["state"] == "offline" and found, "it is offline")
        assert "cut off" in row["reason"] and "sent more than any client does" in row["reason"]
        assert web.log("server").count("is cut off") == 1
    with stranger(web.port, peer.server_key, peer.pair) as again:
        assert again.next("identify", 1.5) is None, "it comes back at once"
    others_go_on(web, 2)
    assert memory(web) - before < 100 * MIB


def test_the_newest_facts_count_when_they_are_due(web: Fleet) -> None:
    with hostile(web) as peer:
        for number in range(30):
            peer.send("profile", facts={"number": number}, args={"A": str(number)})
        wait_until(lambda: web.run_json("--node-info", "hostile")["args"] == {"A": "29"}, "ARGs count at once")
        assert web.run_json("--node-info", "hostile")["facts"]["number"] == 0
        peer.send("heartbeat", journal_position=1)

        def newest() -> bool:
            peer.send("heartbeat", journal_position=1)
            return bool(web.run_json("--node-info", "hostile")["facts"]["number"] == 29)

        wait_until(newest, "the last facts count", every=0.5)


def test_a_client_at_full_speed_is_not_cut_off(web: Fleet, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with open(big, "wb") as file:
        file.truncate(400 * MIB)
    found = web.run_json("--exec", f"FETCH {big} {tmp_path}/out/", "--target", "web", "--wait", timeout=300)
    assert found["state"] == "success"
    steps = "\n".join(f"ARG a{number}={'x' * 3000}\nRUN head -c 900000 /dev/zero" for number in range(30))
    found = web.run_json("--exec", steps, "--target", "web", "--wait", timeout=300)
    assert found["state"] == "success"
    assert web.nodes()["web"]["reason"] is None


def nested(levels: int) -> Any:
    """An object in an object, and so on."""
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def test_deeply_nested_values_do_not_end_the_ledger(web: Fleet) -> None:
    with hostile(web) as peer:
        own = web.submit("--exec", "RUN true", "--target", "hostile")
        given_step(peer, own)
        ledger = web.workers("ledger")
        for levels in (100, 1016, 1017, 1018):  # the reader of messages takes 1,024, with those around the values
            deep = nested(levels)
            jobs = [[own, [[*row(0)[:-1], deep]], [], []]]
            peer.send("results", number=1, journal_position=1, jobs=jobs)
            peer.send("profile", facts={"local": deep}, args={"x": deep})
        others_go_on(web, 2)
        assert web.workers("ledger") == ledger and web.run_json("--node-info", "hostile")["facts"] == {}
        odd = {**nested(10), "evict": 5, "arg": [7]}
        peer.send("results", number=2, journal_position=2, jobs=[[own, [[*row(0)[:-1], odd]], [], []]])
        assert web.wait_job(own)["state"] == "success"
    assert "Traceback" not in web.log("server")


def test_a_node_cannot_keep_its_revocation_off_the_disk(web: Fleet) -> None:
    with hostile(web) as peer:
        peer.send("heartbeat", journal_position=2**70)
        peer.send("get", job="x" * 16, step=0, set=0, ranges=[["0" * 64, 2**70, 1]], anew=True)
        others_go_on(web, 1)
        assert web.director("--revoke-node", "hostile").returncode == 0
    web.stop("server")
    web.restart("server")
    assert web.nodes()["hostile"]["state"] == "revoked"
    with stranger(web.port, peer.server_key, peer.pair) as again:
        assert again.hello("hostile") is None


def test_a_node_that_requests_files_and_reads_nothing_fills_no_memory(web: Fleet, tmp_path: Path) -> None:
    content = tmp_path / "large"
    content.write_bytes(b"x" * (2 * MIB))
    with hostile(web, most=1) as peer:
        job = web.submit("--exec", f"COPY {content} {tmp_path}/copy", "--target", "hostile")
        given_step(peer, job)
        digest = hashlib.sha256(content.read_bytes()).hexdigest()
        wanted = {"job": job, "step": 0, "set": 0, "ranges": [[digest, 0, 2 * MIB]] * 400, "anew": False}
        peer.send("get", **wanted)
        assert peer.next("contents", 30)["error"] == "", "it is its own"
        before = memory(web)
        for number in range(30):
            peer.send("get", **wanted)
            if number % 10 == 0:
                others_go_on(web, 1)
        wait_until(lambda: "its requests are dropped" in web.log("server"), "its requests are dropped")
        others_go_on(web, 2)
        assert memory(web) - before < 120 * MIB

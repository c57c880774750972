"""A server that does not answer, and one that takes long: what the user's calls make of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest
from harness import Fleet

from director.ids import new_job_id
from director.protocol.framing import Channel
from director.runtime.paths import dial


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet() as fleet:
        fleet.start_server()
        yield fleet


def submission(id: str) -> dict[str, object]:
    """The request of a submission on the operator's socket."""
    file = {"id": id, "kind": "exec", "name": "exec", "form": "auto", "folder": "/", "text": "RUN true"}
    return {"do": "submit", "files": [file], "options": {}}


@pytest.mark.slow
def test_a_stopped_server_ends_every_call(fleet: Fleet) -> None:
    fleet.wait_online(fleet.start_clients(1))
    job = fleet.submit("--exec", "RUN sleep 300")
    waiting = fleet.begin("--wait-job", job, "--server-timeout", "8s")
    assert "waiting for node-1" in waiting.stderr.readline()  # after 5 s
    os.kill(fleet.pid("server"), signal.SIGSTOP)
    try:
        listings = [fleet.begin(action, "--server-timeout", "4s") for action in ("--list-nodes", "--list-jobs")]
        cancel = fleet.begin("--cancel-job", job, "--server-timeout", "4s")
        limited = [
            fleet.begin(*what, "--wait-timeout", "3500ms", "--server-timeout", "1h")
            for what in (["--wait-job", job], ["--exec", "RUN true", "--wait"])
        ]
        for call in (*listings, cancel):
            out, err = call.communicate(timeout=120)
            assert (call.returncode, out) == (3, "")
            assert err.startswith("director: the server has given no sign of life for 3 s;")
            assert ("it may be carried out" in err) == (call is cancel)
        for call in limited:
            out, err = call.communicate(timeout=120)
            assert (call.returncode, out) == (4, "")
            assert "--wait-timeout passed" in err
        _, err = waiting.communicate(timeout=120)
        assert (waiting.returncode, f"director --wait-job {job}" in err) == (3, True)
    finally:
        os.kill(fleet.pid("server"), signal.SIGCONT)
    assert fleet.wait_job(job)["state"] == "cancelled"  # the order was on its way


@pytest.mark.slow
def test_a_server_that_plans_gives_signs_of_life(fleet: Fleet) -> None:
    fleet.wait_online(fleet.start_clients(1))
    for pid in fleet.workers():
        os.kill(pid, signal.SIGSTOP)
    patient = fleet.begin("--exec", "RUN true", "--server-timeout", "8s")
    with Channel(dial(str(fleet.socket_path)), take_fds=False) as channel:
        id = new_job_id()
        channel.send(submission(id))
        for _ in range(3):  # the third one is 10 s after the first
            frame = channel.receive()
            assert frame is not None and frame[0] == {"alive": True}
        for pid in fleet.workers():
            os.kill(pid, signal.SIGCONT)
        while (frame := channel.receive()) is not None and "alive" in frame[0]:
            pass
    assert frame is not None and json.loads(frame[1])["jobs"][0]["id"] == id
    out, err = patient.communicate(timeout=120)
    assert (patient.returncode, err) == (0, "director: the server is at work on it\n")
    assert fleet.wait_job(out.strip())["state"] == "success"

"""--resume with real processes: only what did not succeed runs again, with the values and files of the first time."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from harness import Fleet, tasks_of, wait_until

from director.ids import new_job_id
from director.protocol.framing import Channel

TEXT = """\
FROM node-1,node-2
ENV COLOUR=green
ARG SIZE=10
WORKDIR {folder}
SHELL ["/bin/sh", "-c"]
RUN --stdout-arg WHO echo i-am-$DIRECTOR_NODE
RUN echo once >> marks-$DIRECTOR_NODE
RUN test -e ok-$DIRECTOR_NODE
COPY source.txt copied-{{{{ node.id }}}}
RUN echo "$COLOUR $SIZE $WHO $(pwd)"
FROM node-1
RUN pwd
"""


@pytest.fixture
def failed(fleet: Fleet) -> str:
    """A job that went well on node-1 and failed in the middle on node-2; its id."""
    fleet.wait_online(fleet.start_clients(2))
    (fleet.folder / "ok-node-1").touch()
    (fleet.folder / "source.txt").write_text("as it was")
    (fleet.folder / "site.director").write_text(TEXT.format(folder=fleet.folder))
    job = fleet.run_json("--orchestrate", "site.director", "--wait", exit_code=1)
    assert states(job, "node-1") == "SSCSSSSSSS" and states(job, "node-2") == "SSCSSSFKK"
    (fleet.folder / "source.txt").write_text("changed since")
    (fleet.folder / "ok-node-2").touch()
    return str(job["id"])


def states(job: dict[str, Any], node: str) -> str:
    """The node's states in the order of the steps, a letter each."""
    letters = {"success": "S", "cached": "C", "failed": "F", "skipped": "K", "queued": "q"}
    return "".join(letters[task["state"]] for task in tasks_of(job) if task["node"] == node)


def task_of(job: dict[str, Any], node: str, step: int) -> dict[str, Any]:
    """One task."""
    return next(task for task in tasks_of(job) if (task["node"], task["step"]) == (node, step))


def marks(fleet: Fleet, node: str) -> int:
    """How often the step that leaves a mark has run there."""
    return (fleet.folder / f"marks-{node}").read_text().count("once")


def test_only_what_did_not_succeed_runs_with_the_recorded_inputs(fleet: Fleet, failed: str) -> None:
    job = fleet.run_json("--resume", failed[:8], "--wait")
    assert (states(job, "node-1"), states(job, "node-2")) == ("C" * 10, "CCCCCCSSS")
    assert (job["state"], job["name"], job["kind"]) == ("success", "site.director", "orchestrate")
    assert task_of(job, "node-1", 9)["reason"] == f"succeeded in {failed}"
    assert task_of(job, "node-2", 8)["stdout"] == f"green 10 i-am-node-2 {fleet.folder}\n"
    assert (fleet.folder / "copied-node-2").read_text() == "as it was"
    assert (marks(fleet, "node-1"), marks(fleet, "node-2")) == (1, 1)
    again = fleet.run_json("--resume", job["id"], "--wait")  # nothing is left to do
    assert (again["state"], again["tasks"]["cached"]) == ("success", 19)


def test_a_step_that_equals_an_earlier_one_is_not_taken_for_it(fleet: Fleet) -> None:
    fleet.wait_online(fleet.start_clients(1))
    check = "RUN test -e ok && echo once >> marks-node-1\n"
    (fleet.folder / "ok").touch()
    (fleet.folder / "same.director").write_text(f"{check}RUN rm ok\n{check}".replace("RUN", f"RUN cd {fleet.folder};"))
    failed = fleet.run_json("--orchestrate", "same.director", "--wait", exit_code=1)
    (fleet.folder / "ok").touch()
    assert states(fleet.run_json("--resume", failed["id"], "--wait"), "node-1") == "CCS"
    assert marks(fleet, "node-1") == 2


def test_an_offline_node_goes_on_when_it_returns_though_both_sides_began_anew(fleet: Fleet, failed: str) -> None:
    fleet.stop("node-2")
    fleet.wait_state(["node-2"], "offline")
    (fleet.folder / "ok-node-2").unlink()
    held = fleet.submit("--resume", failed)
    assert (states(fleet.job(held), "node-1"), states(fleet.job(held), "node-2")) == ("C" * 10, "CCCCCCqqq")
    fleet.kill("server")
    fleet.restart("server")
    fleet.restart("node-2")
    assert states(fleet.wait_job(held), "node-2") == "CCCCCCFKK"

    slow = fleet.folder / "slow.director"
    slow.write_text(
        f"FROM node-2\nENV A=kept\nRUN test -e {fleet.folder}/go\n"
        f"RUN touch {fleet.folder}/begun; sleep 3\nRUN echo $A $B\n"
    )
    first = fleet.run_json("--orchestrate", "slow.director", "--wait", exit_code=1)
    (fleet.folder / "go").touch()
    third = fleet.submit("--resume", first["id"])
    wait_until((fleet.folder / "begun").exists, "the slow step runs")
    fleet.kill("node-2")
    fleet.restart("node-2")
    assert [task["state"] for task in tasks_of(fleet.wait_job(third))] == ["cached", "success", "lost", "skipped"]
    last = fleet.run_json("--resume", third, "--arg", "B=given", "--wait")
    assert [task["state"] for task in tasks_of(last)] == ["cached", "cached", "success", "success"]
    assert task_of(last, "node-2", 3)["stdout"] == "kept\n"  # B is no ARG of the file, so no $B


def test_options_of_the_new_job_count(fleet: Fleet, failed: str) -> None:
    assert fleet.director("--resume", "ffffffffffffffff").returncode == 6
    assert fleet.director("--resume", failed, "--target", "nobody").returncode == 5
    (fleet.folder / "ok-node-2").unlink()
    job = fleet.run_json("--resume", failed, "--target", "node-1", "--name", "again", "--wait")
    assert (job["name"], job["node_count"], states(job, "node-1")) == ("again", 1, "C" * 10)
    running = fleet.submit("--target", "node-1", "--exec", "RUN sleep 30")
    refused = fleet.director("--resume", running)
    assert refused.returncode == 2 and "is still" in refused.stderr
    assert fleet.director("--cancel-job", running).returncode == 0
    fleet.wait_job(running)
    done = fleet.run_json("--resume", running, "--timeout", "0.5s", "--wait", exit_code=1)
    assert task_of(done, "node-1", 0)["state"] == "timeout"


@pytest.mark.quick
def test_asked_again_it_is_accepted_once(fleet: Fleet, failed: str) -> None:
    (fleet.folder / "ok-node-2").unlink()
    request = {"do": "resume", "id": "last", "new_id": new_job_id(), "options": {}}
    first, second = (ask(fleet.socket_path, request) for _ in range(2))
    assert first["jobs"] == second["jobs"] and first["jobs"][0]["id"] == request["new_id"]
    assert len(fleet.run_json("--list-jobs")) == 2
    other = ask(fleet.socket_path, {**request, "options": {"timeout": 5}})
    assert other["exit"] == 2


def ask(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """One request on the operator's socket: its answer, or the error."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        channel = Channel(sock, take_fds=False)
        channel.send(request)
        while (frame := channel.receive()) is not None and "alive" in frame[0]:
            pass
    assert frame is not None
    header, body, _ = frame
    answer: dict[str, Any] = json.loads(body) if body else header
    return answer


def test_a_run_once_step_goes_to_a_node_that_is_left(fleet: Fleet) -> None:
    fleet.wait_online(fleet.start_clients(2))
    place = fleet.folder
    text = f"RUN --run-once test -e {place}/go && echo $DIRECTOR_NODE > {place}/where\nRUN cat {place}/where"
    job = fleet.run_json("--exec", text, "--wait", exit_code=1)
    chosen = next(task["node"] for task in tasks_of(job) if task["state"] == "failed")
    other = ({"node-1", "node-2"} - {chosen}).pop()
    (place / "go").touch()
    done = fleet.run_json("--resume", job["id"], "--target", other, "--wait")
    assert [(task["node"], task["state"]) for task in tasks_of(done)] == [(other, "success")] * 2
    whole = fleet.run_json("--resume", job["id"], "--wait")
    assert sorted(task["state"] for task in tasks_of(whole)) == ["success"] * 3
    assert (place / "where").read_text() == f"{chosen}\n"

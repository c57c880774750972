"""--run-once over real processes: who waits for it, who does not, and what becomes of those that wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness import Fleet, tasks_of, wait_until

from director.node_sets import fold

NAMES = ["node-1", "node-2", "node-3"]
Tasks = dict[tuple[int, str], dict[str, Any]]


@pytest.fixture
def place(trio: Fleet, request: pytest.FixtureRequest) -> Path:
    """A folder of the test's own, for what steps leave and wait for."""
    folder = trio.folder / request.node.name
    folder.mkdir()
    return folder


def until(path: Path | str) -> str:
    """A command that ends when there is such a file."""
    return f"while test ! -e {path}; do sleep 0.05; done"


def tasks(job: dict[str, Any]) -> Tasks:
    """A job's tasks by step and node."""
    return {(task["step"], task["node"]): task for task in tasks_of(job)}


def states(job: dict[str, Any], step: int) -> dict[str, str]:
    """Node to its state at the step."""
    return {name: task["state"] for (number, name), task in tasks(job).items() if number == step}


def entry(*steps: str) -> str:
    """An async entry for all."""
    return "- targets: all\n  async: true\n  jobs:\n" + "".join(f"  - RUN: {step}\n" for step in steps)


def waits(fleet: Fleet, job: str, *names: str) -> None:
    """Return when these nodes are known to wait for node-1."""

    def told() -> bool:
        said = fleet.director("--wait-job", job, "--wait-timeout", "1").stderr
        return f"waiting for {fold(names)}: node-1 has not ended step 2, which it runs for all" in said

    wait_until(told, f"{names} wait for node-1")


def test_in_async_entries_neighbours_go_on(trio: Fleet, place: Path) -> None:
    file = place / "beside.yaml"
    file.write_text(
        entry(until(f"{place}/second-$DIRECTOR_NODE"))
        + entry(
            f"--run-once {until(place / 'third')}; touch {place}/first",
            f"test -e {place}/first && touch {place}/second-$DIRECTOR_NODE",
        )
        + entry("true", f"--run-once touch {place}/third", f"test -e {place}/third")
        + entry("--run-once false", "echo never")
    )
    done = trio.run_json("--orchestrate", str(file), "--wait", "--wait-timeout", "10m", exit_code=1)
    found = tasks(done)
    assert {step["index"]: {t["state"] for t in step["tasks"]} for step in done["steps"]} == {
        0: {"success"}, 1: {"success"}, 2: {"success"}, 3: {"success"}, 4: {"success"}, 5: {"success"},
        6: {"failed"}, 7: {"skipped"},
    }  # fmt: skip
    assert [name for number, name in found if number in (1, 4, 6)] == ["node-1"] * 3
    first, second, third = found[0, "node-1"], found[1, "node-1"], found[4, "node-1"]
    assert second["started_at"] < first["finished_at"] and third["started_at"] < second["finished_at"], "together"
    assert third["finished_at"] <= second["finished_at"] <= first["finished_at"], "the last one ends first"
    for name in NAMES:
        assert found[7, name]["reason"].endswith("step 7 failed: exit code 1")


def test_the_others_wait_whoever_dies_meanwhile(trio: Fleet, place: Path) -> None:
    text = (
        f"FROM all\nRUN test $DIRECTOR_NODE != node-3 || {{ {until(place / 'begun')}; }}\n"  # nobody waits for it
        f"RUN --run-once touch {place}/begun && {until(place / 'go')}\n"
        f"RUN test -e {place}/go && echo x >> {place}/ran-$DIRECTOR_NODE\n"
        "FROM node-2\nRUN true"
    )
    job = trio.submit("--exec", text)
    waits(trio, job, "node-2", "node-3")
    wait_until(lambda: states(trio.job(job), 1) == {"node-1": "running"}, "the chosen one runs it")
    trio.kill("server")
    trio.restart("server")
    waits(trio, job, "node-2", "node-3")
    trio.kill("node-3")
    trio.restart("node-3")
    waits(trio, job, "node-2", "node-3")
    assert states(trio.job(job), 2) == dict.fromkeys(NAMES, "sent")
    assert states(trio.job(job), 3) == {"node-2": "queued"}, "the next stage waits for all"
    trio.kill("server")
    (place / "go").touch()
    trio.restart("server")
    done = trio.wait_job(job)
    assert done["state"] == "success" and done["tasks"]["success"] == 8
    assert [(place / f"ran-{name}").read_text() for name in NAMES] == ["x\n"] * 3


def test_when_it_fails_those_that_wait_are_skipped(trio: Fleet, place: Path) -> None:
    job = trio.submit("--exec", f"RUN true\nRUN --run-once {until(place / 'go')}; exit 3\nRUN echo never\nRUN echo nor")
    waits(trio, job, "node-2", "node-3")
    trio.kill("node-3")
    trio.kill("server")
    (place / "go").touch()
    trio.restart("server")
    done = trio.wait_job(job)
    assert (done["state"], states(done, 1)) == ("failed", {"node-1": "failed"})
    assert states(done, 2) == states(done, 3) == dict.fromkeys(NAMES, "skipped")
    assert tasks(done)[3, "node-2"]["reason"] == "on node-1, step 2 failed: exit code 3"
    trio.restart("node-3")
    trio.wait_online(NAMES)
    text = "RUN true\nRUN --run-once --ignore-errors false\nRUN echo $DIRECTOR_NODE"
    assert states(trio.run_json("--exec", text, "--wait"), 2) == dict.fromkeys(NAMES, "success")


def test_those_that_wait_are_cancelled(trio: Fleet, place: Path) -> None:
    job = trio.submit("--exec", f"RUN true\nRUN --run-once {until(place / 'go')}\nRUN echo never")
    waits(trio, job, "node-2", "node-3")
    assert trio.director("--cancel-job", job).returncode == 0
    done = trio.wait_job(job)
    assert (done["state"], states(done, 1)) == ("cancelled", {"node-1": "cancelled"})
    assert states(done, 2) == dict.fromkeys(NAMES, "cancelled")

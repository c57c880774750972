"""Attempts that a client's death takes, and the places of a node that many jobs share."""

from __future__ import annotations

from harness import Fleet, tasks_of, wait_until


def test_a_step_with_attempts_left_runs_again_after_the_clients_death(fleet: Fleet) -> None:
    fleet.start_client("node-1")
    fleet.wait_online(["node-1"])
    marks = fleet.folder / "marks"
    step = f"echo begun >> {marks}; test $(wc -l < {marks}) -gt 2 || sleep 60"
    job = fleet.submit("--exec", f"RUN --retry 3 {step}\nRUN echo after")
    for attempt in (1, 2):
        wait_until(lambda n=attempt: marks.exists() and len(marks.read_text().split()) == n, f"attempt {attempt}")
        fleet.kill("node-1")
        fleet.restart("node-1")
    done = fleet.wait_job(job)
    first, last = tasks_of(done)
    assert (done["state"], first["state"], first["attempt"]) == ("success", "success", 3)
    assert (last["state"], last["stdout"], len(marks.read_text().split())) == ("success", "after\n", 3)

    marks.unlink()
    job = fleet.submit("--exec", f"RUN --retry 1 {step}\nRUN echo after")
    wait_until(marks.exists, "the only attempt")
    fleet.kill("node-1")
    fleet.restart("node-1")
    states = [(task["state"], task["attempt"]) for task in tasks_of(fleet.wait_job(job))]
    assert states == [("lost", 1), ("skipped", 0)]


def test_a_huge_job_keeps_no_small_one_waiting(fleet: Fleet) -> None:
    fleet.start_client("node-1", "--concurrency", "1")
    fleet.wait_online(["node-1"])
    (fleet.folder / "huge.director").write_text("FROM node-1\n" + "RUN sleep 0.02\n" * 3000)
    huge = fleet.submit("--orchestrate", "huge.director")
    wait_until(lambda: fleet.job(huge)["tasks"]["success"] > 10, "the huge job is under way")
    small = fleet.run_json("--exec", "RUN echo 1\nRUN echo 2\nRUN echo 3", "--wait")
    assert small["state"] == "success"
    counts = fleet.run_json("--list-jobs", huge)[0]
    assert not counts["final"] and counts["tasks"]["success"] < 2500
    several = [fleet.submit("--exec", f"RUN echo {n}") for n in range(3)]
    assert [fleet.wait_job(job)["state"] for job in several] == ["success"] * 3
    assert not fleet.run_json("--list-jobs", huge)[0]["final"]
    assert fleet.director("--cancel-job", huge).returncode == 0

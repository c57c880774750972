"""The cache of orchestration files on a real node: what runs again, and what is left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Fleet, wait_until

Run = Callable[..., str]


@pytest.fixture(scope="module")
def one() -> Iterator[Fleet]:
    """A server with one node."""
    with Fleet() as fleet:
        fleet.start_server()
        fleet.wait_online(fleet.start_clients(1))
        yield fleet


@pytest.fixture
def run(one: Fleet, request: pytest.FixtureRequest) -> Run:
    """Run a file; a letter for each step: `s` success, `c` cached, `f` failed."""
    path = one.folder / f"{request.node.name}.director"

    def go(text: str, *more: str) -> str:
        path.write_text(text)
        plan = one.run_json("--plan", str(path), *more)
        job = one.run_json("--orchestrate", str(path), "--wait", *more)
        states = "".join(step["tasks"][0]["state"][0] for step in job["steps"])
        for step, state in zip(plan["steps"], states, strict=True):  # what was foreseen is what came
            assert step["nodes"][0]["action"] == "unknown" or (step["nodes"][0]["action"] == "cached") == (state == "c")
        return states

    return go


def test_a_b_a(one: Fleet, run: Run) -> None:
    text = "RUN echo first\nRUN echo A\nRUN --skip-cache echo always\nRUN echo last\n"
    assert run(text) == "ssss"
    assert run(text) == "ccsc"
    assert run(text.replace("A", "B")) == "csss"
    assert run(text) == "csss"
    assert run(text, "--no-cache") == "ssss"
    assert run(text, "--name", "another chain") == "ssss"
    assert run(text) == "ccsc"
    one.run_json("--exec", "CACHEEVICT jobs", "--wait")
    assert run(text) == "ssss"


def test_what_was_put_out_is_set_again(one: Fleet, run: Run) -> None:
    text = "RUN --stdout-arg NOW --stderr-arg ERR date +%N; echo $$ >&2\nRUN echo $NOW\nRUN echo {{ ERR }} ENV\n"
    assert run(text) == "sss"
    before = [one.job()["steps"][1]["tasks"][0]["stdout"].strip()]
    one.run_json("--exec", "CACHEEVICT args", "--wait")
    assert run(text) == "ccc"
    assert run(text.replace("ENV", "$NOW")) == "ccs"
    assert one.job()["steps"][2]["tasks"][0]["stdout"].split()[1:] == before


def test_a_changed_node_counts_as_changed(one: Fleet, run: Run) -> None:
    place = one.folder / "srv"
    text = f"LABEL tier=web\nRUN echo 1\nWORKDIR {place}\nRUN echo 2\nENV A=1\nRUN echo 3\n"
    assert run(text) == "ssssss"
    assert run(text) == "cccccc"
    place.rmdir()
    assert run(text) == "ccssss"
    one.run_json("--exec", "LABEL tier=", "--wait")
    assert run(text) == "sscsss"
    assert run(text) == "cccccc"
    assert run(text.replace("A=1", "A=2")) == "ccccss"


def test_a_step_that_is_always_applied_and_skips_the_cache(run: Run) -> None:
    text = "WAIT {} --stdout-arg NOW --cmd date +%N\nRUN echo 1\nENV {} B=1\nLABEL {} c=d\nRUN echo 2\n"
    skipping = text.format(*["--skip-cache"] * 3)
    assert run(skipping) == "sssss"
    assert run(skipping) == "scscc"
    plain = text.format("", "", "")
    assert run(plain)[1] == run(plain)[1] == "s", "its value is another each time"


def test_files_are_compared_with_what_is_there(one: Fleet, run: Run) -> None:
    source, there = one.folder / "app.conf", one.folder / "there.conf"
    source.write_text("one")
    text = f"RUN echo 1\nCOPY {source} {there}\nRUN echo restart\n"
    assert run(text) == "sss"
    there.write_text("two")
    assert run(text) == "css"
    there.chmod(0o600)
    assert run(text) == "css"
    source.write_text("three")
    there.write_text("three")
    assert run(text) == "ccs", "an input is another, though nothing had to be done"
    there.write_text("two")
    assert run(text.replace("COPY", "COPY --skip-cache")) == "csc"
    Path(there).unlink()
    assert run(text.replace("COPY", "COPY --ignore-errors").replace(str(there), "/proc/no/where")) == "cfs"
    assert run(text) == "css"


def test_a_client_that_dies_in_mid_job_keeps_the_cache(one: Fleet, run: Run, request: pytest.FixtureRequest) -> None:
    begun, go = one.folder / "begun", one.folder / "go"
    wait = f"touch {begun}; until test -e {go}; do sleep 0.05; done"
    text = f"RUN echo 1\nRUN echo 2\nRUN --retry 2 {wait}\nRUN echo 4\n"
    go.touch()
    assert run(text) == "ssss"
    go.unlink()
    begun.unlink()
    text = text.replace("touch", "true; touch")
    path = one.folder / f"{request.node.name}.director"
    path.write_text(text)
    job = one.submit("--orchestrate", str(path))
    wait_until(begun.exists, "the third step runs")
    one.kill("node-1")
    go.touch()
    one.restart("node-1")
    states = "".join(step["tasks"][0]["state"][0] for step in one.wait_job(job)["steps"])
    assert states == "ccss"
    assert run(text) == "cccc"

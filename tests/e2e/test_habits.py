"""The command line as people use it, in a real terminal, against a real fleet of three."""

from __future__ import annotations

import pytest
from harness import Fleet
from terminal import Terminal

pytestmark = pytest.mark.quick


def terminal(fleet: Fleet, *words: str) -> Terminal:
    """`director WORDS…` in a terminal."""
    return Terminal(fleet.command(*words), fleet.environment, fleet.folder)


def test_what_was_confirmed_is_what_runs(trio: Fleet) -> None:
    for answer, code in (("n", 2), ("y", 0)):
        with terminal(trio, "exec", "RUN true", "--confirm-above", "2", "--wait", "--name", "asked") as call:
            call.expect(r"this runs on 3 nodes: node-\[1-3\]")
            call.expect(r"\[y/N\] ")
            call.type(f"{answer}\n")
            assert call.end() == code
    assert [row["state"] for row in trio.run_json("jobs") if row["name"] == "asked"] == ["success"]
    job = trio.submit("exec", "RUN true", "-t", "node-[1-2]")
    trio.wait_job(job)
    with terminal(trio, "resume", job, "-t", "node-1", "--confirm-above", "1", "--wait") as call:
        assert call.end() == 0


def test_another_number_of_nodes_is_refused(trio: Fleet) -> None:
    before = len(trio.run_json("jobs"))
    done = trio.director("exec", "RUN true", "-t", "node-[1-2]", "--expect-nodes", "3")
    assert (done.returncode, done.stderr) == (
        5,
        "director: the target is 2 nodes now, not 3 (--expect-nodes); nothing was run\n",
    )
    assert len(trio.run_json("jobs")) == before
    assert trio.director("exec", "RUN true", "--expect-nodes", "3", "--wait").returncode == 0

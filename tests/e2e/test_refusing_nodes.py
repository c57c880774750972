"""Nodes that do not run everything: the settings of their clients hold in jobs and in `--plan`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from harness import Fleet

OWN = """from director.verbs.base import Verb, success
class Hello(Verb):
    name = "HELLO"
    def parse(self, instruction, planning):
        return {}
    def apply(self, body, flags, node):
        return success("hello")
open("%s", "a").close() if "DIRECTOR_LOADED" in __import__("os").environ else None
"""
REFUSED = "this node does not run "


def reasons(fleet: Fleet, text: str, *options: str) -> dict[str, list[str]]:
    """The reason of each task by node: of the failed ones, and "" for the others."""
    job = fleet.run_json("--wait", *options, "--exec", text, exit_code=1)
    found: dict[str, list[str]] = {}
    for step in job["steps"]:
        for task in step["tasks"]:
            why = task["reason"] if task["state"] == "failed" else ""
            found.setdefault(task["node"], []).append(why)
    return found


def planned(fleet: Fleet, text: str, *options: str) -> dict[str, str]:
    """What `--plan` says of the last step, by node."""
    (*_, step) = fleet.run_json("--plan", *options, "--exec", text)["steps"]
    return {row["node"]: row["reason"] for row in step["nodes"]}


def test_verbs_are_refused_in_jobs_and_plans(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    folder = fleet.folder / "verbs"
    folder.mkdir()
    loaded = fleet.folder / "loaded"
    (folder / "hello.py").write_text(OWN % loaded)
    fleet.start_server("--verbs-path", str(folder))
    mark = {"DIRECTOR_LOADED": "1"}
    fleet.start_client("few", "--identity", "few", "--allow-verbs", "ECHO,RUN", env=mark)
    fleet.start_client("most", "--identity", "most", "--deny-verbs", "own,FETCH", env=mark)
    fleet.start_client("reader", "--identity", "reader", "--read-only", env=mark)
    fleet.start_client("all", "--identity", "all-of-them")
    fleet.wait_online(["few", "most", "reader", "all-of-them"])

    cases = {
        "HELLO": {
            "few": REFUSED + "HELLO (--allow-verbs)",
            "most": REFUSED + "HELLO (--deny-verbs)",
            "reader": "this node runs no verbs of the operator (--read-only), so not HELLO",
        },
        "RUN true": {"reader": "this node runs nothing that may change it (--read-only), so not RUN"},
    }
    for text, expected in cases.items():
        assert {node: whys[0] for node, whys in reasons(fleet, text).items() if whys[0]} == expected
        plan = planned(fleet, text)
        assert {node: why for node, why in plan.items() if "refuse" in why or "this node" in why} == {
            node: f"would fail: {why}" for node, why in expected.items()
        }
    assert not loaded.exists(), "the file of a refused verb was run"

    # files leave a node only where FETCH may run
    place = fleet.folder / "copy"
    for node, gives in (("most", False), ("few", False), ("reader", True)):
        text = f"COPY --from={node} /etc/hostname {place}"
        if gives:
            fleet.run_json("--wait", "--target", "all-of-them", "--exec", text)
        else:
            (why,) = reasons(fleet, text, "--target", "all-of-them")["all-of-them"]
            assert "gives no files to others" in why
            assert not place.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--allow-verbs", "RNU"], "--allow-verbs: there is no verb RNU; did you mean RUN?"),
        (["--no-root", "root"], "--no-root: root is root; expected another user"),
    ],
)
def test_settings_that_mean_nothing_are_errors(
    new_fleet: Callable[..., Fleet], options: list[str], message: str
) -> None:
    fleet: Any = new_fleet()
    fleet.start_client("node", *options)
    assert fleet.processes["node"].wait(60) == 2
    assert message in fleet.log("node")

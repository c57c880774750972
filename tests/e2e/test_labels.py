"""Whose labels are believed: the server's own, whatever a node says; with real processes."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from harness import Fleet, wait_until
from simulation.stranger import Stranger, stranger

CLAIM = {"tier": "db"}


def server_key(fleet: Fleet) -> str:
    """The server's public key."""
    return (fleet.folder / "server" / "server" / "curve.key").read_text().split()[0]


def labels(fleet: Fleet) -> dict[str, Any]:
    """The labels that the server shows of each node."""
    return {name: node["labels"] for name, node in fleet.nodes().items()}


def said(fleet: Fleet, job: str) -> list[str]:
    """What the last step of a job printed on each of its nodes, once the job has ended well."""
    done = fleet.wait_job(job)
    assert done["state"] == "success", done
    return [task["stdout"].strip() for task in done["steps"][-1]["tasks"]]


def end_step(peer: Stranger, number: int, job: str, state: str) -> None:
    """Report the end of step 0 with labels among what it is said to have set."""
    row = [0, state, 0, 1.0, 2.0, 1.0, 0.0, 1, "so", 0, 0, 0, {"labels": CLAIM, "arg": {"TIER": "db"}}]
    peer.send("results", b"", number=number, journal_position=number, jobs=[[job, [row], [], []]])


def test_a_node_that_claims_a_label_does_not_get_the_work(fleet: Fleet) -> None:
    fleet.start_client("db")
    fleet.wait_online(["db"])
    assert fleet.director("--label-node", "db", "tier=db").returncode == 0
    with stranger(fleet.port, server_key(fleet)) as evil:
        assert evil.enroll("evil") == ("enrolled", "")
        profile = {"facts": {"labels": CLAIM}, "args": {}, "labels": CLAIM}
        welcome = evil.hello("evil", profile=profile, labels=CLAIM)
        assert welcome is not None and welcome["labels"] == {}
        evil.send("profile", **profile)
        evil.send("labels", labels=CLAIM)
        assert fleet.director("--label-node", "evil", "seen=1").returncode == 0
        given = (("RUN true", "S", "success"), ("LABEL failed=yes", "F", "failed"), ("LABEL role=web", "S", "success"))
        for number, (text, letter, state) in enumerate(given, 1):
            job = fleet.submit("--exec", text, "--target", "evil")
            slice = evil.next("slice")
            assert slice is not None and slice["job"] == job
            end_step(evil, number, job, letter)
            assert fleet.wait_job(job)["state"] == state
        assert labels(fleet) == {"db": {"tier": "db"}, "evil": {"seen": "1", "role": "web"}}
        assert evil.next("labels") == {"labels": {"seen": "1", "role": "web"}}
        secret = fleet.submit("--exec", "RUN echo {{ node.id }}", "--target", "label:tier=db")
        assert said(fleet, secret) == ["db"]
        assert evil.next("slice", 0.5) is None
        shown = fleet.director("--node-info", "evil", "--output", "json").stdout
        assert json.loads(shown)["labels"] == {"seen": "1", "role": "web"}


def test_a_label_is_seen_by_later_steps_and_jobs_and_stays(fleet: Fleet) -> None:
    for name in ("a", "b"):
        fleet.start_client(name)
    fleet.wait_online(["a", "b"])
    job = fleet.submit("--exec", "LABEL tier=web at={{ node.id }}\nRUN echo {{ node.labels.at }}", "--target", "a")
    assert said(fleet, job) == ["a"]
    show = ("--exec", "RUN echo {{ node.labels.tier }}", "--target", "label:tier")
    assert said(fleet, fleet.submit(*show)) == ["web"]
    assert fleet.director("--label-node", "b", "tier=db", "rack=A 1").returncode == 0
    assert sorted(said(fleet, fleet.submit(*show))) == ["db", "web"], "without a new connection"
    for name in ("server", "a"):
        fleet.kill(name)
        fleet.restart(name)
    fleet.wait_online(["a", "b"])
    assert labels(fleet) == {"a": {"tier": "web", "at": "a"}, "b": {"tier": "db", "rack": "A 1"}}
    assert sorted(said(fleet, fleet.submit(*show))) == ["db", "web"]
    assert said(fleet, fleet.submit("--exec", "LABEL rack= tier=", "--target", "b")) == [""]
    assert labels(fleet)["b"] == {}
    fleet.stop("a")
    wait_until(lambda: fleet.nodes()["a"]["state"] == "offline", "it is offline")
    assert fleet.director("--purge-nodes", "--node", "a").returncode == 0
    shutil.rmtree(fleet.folder / "a")
    fleet.restart("a")
    fleet.wait_online(["a"])
    assert labels(fleet)["a"] == {}, "a purge forgets them"


def test_a_step_that_does_not_succeed_labels_nothing(fleet: Fleet) -> None:
    fleet.start_client("a")
    fleet.wait_online(["a"])
    job = fleet.submit("--exec", "RUN false\nLABEL tier=web", "--target", "a")
    assert fleet.wait_job(job)["state"] == "failed" and labels(fleet) == {"a": {}}
    refused = fleet.director("--exec", "RUN true\nLABEL os={{ facts.os.id }}", "--target", "a")
    assert refused.returncode == 2 and "exec:2: facts is not set by" in refused.stderr
    assert "--label-node" in refused.stderr


def test_labels_of_many_nodes_at_once(fleet: Fleet) -> None:
    for name in ("a", "b"):
        fleet.start_client(name)
    fleet.wait_online(["a", "b"])

    def label(text: str) -> subprocess.CompletedProcess[str]:
        return fleet.director("--label-node", "-", input=text)

    assert label('a,tier=web,rack=1\n\n"b","note=x, y"\n').returncode == 0
    assert labels(fleet) == {"a": {"tier": "web", "rack": "1"}, "b": {"note": "x, y"}}
    assert label('{"a": {"tier": null}, "b": {"tier": "db"}}').returncode == 0
    assert labels(fleet) == {"a": {"rack": "1"}, "b": {"note": "x, y", "tier": "db"}}
    for text, why in (
        ("a,x=1\nnobody,x=1\n", "no node nobody"),
        ("a,x=1\nb,x\n", "line 2 of standard input: 'x' is no label"),
        (f"a,x=1\nb,{'k' * 300}=1\n", "expected letters"),
        (f"a,x=1\nb,x={'v' * 70_000}\n", "b would have 3 labels of"),
    ):
        refused = label(text)
        assert refused.returncode != 0 and why in refused.stderr, refused.stderr
    assert "x" not in labels(fleet)["a"], "all of the nodes or none"

"""Attacks of enrolled nodes on what is not theirs: steps, files and values of other nodes, contents of other jobs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ujson
from harness import Fleet, wait_until
from simulation.stranger import Stranger

NONE = "0" * 64  # the digest of no content
Nodes = dict[str, Stranger]


@pytest.fixture(scope="module")
def den(request: pytest.FixtureRequest) -> Iterator[tuple[Fleet, Nodes]]:
    """A server with the enrolled nodes `one` and `two`, which keep what they receive and do nothing by themselves."""
    fleet, nodes = Fleet(beat="60s"), {}
    try:
        fleet.start_server()
        key = (fleet.folder / "server" / "server" / "curve.key").read_text().split()[0]
        for name in ("one", "two"):
            nodes[name] = Stranger(fleet.port, key)
            assert nodes[name].enroll(name) == ("enrolled", "")
            assert nodes[name].hello(name)
        fleet.wait_online(nodes)
        yield fleet, nodes
        if request.session.testsfailed:
            print(fleet.tails())
    finally:
        for node in nodes.values():
            node.close()
        fleet.close()


@pytest.fixture
def fleet(den: tuple[Fleet, Nodes]) -> Fleet:
    return den[0]


@pytest.fixture
def nodes(den: tuple[Fleet, Nodes]) -> Nodes:
    for node in den[1].values():
        node.received.clear()
    return den[1]


def secret(folder: Path, name: str = "secret") -> tuple[str, str, str]:
    """A file with a content that nobody can guess: its path, text and digest."""
    text = f"password {os.urandom(16).hex()}"
    (folder / name).write_text(text)
    return str(folder / name), text, hashlib.sha256(text.encode()).hexdigest()


def write(folder: Path, text: str) -> str:
    """An orchestration file; its path."""
    path = folder / f"{os.urandom(4).hex()}.director"
    path.write_text(text)
    return str(path)


def has_seen(node: Stranger, text: str) -> bool:
    """Whether a message to the node had this text."""
    parts = (ujson.dumps(fields).encode() + b"".join(payload) for _, fields, payload in node.received)
    return any(text.encode() in part for part in parts)


def steps_sent(node: Stranger, job: str) -> list[int]:
    """The numbers of all steps that the node was sent of the job."""
    slices = [payload for kind, fields, payload in node.received if kind == "slice" and fields["job"] == job]
    return [step["i"] for _, *chunks in slices for chunk in chunks for step in ujson.loads(chunk or b"[]")]


def blob(node: Stranger, job: str, step: int, digest: str, size: int = 10) -> tuple[str, bytes]:
    """Ask for a content: the error and the bytes."""
    node.send("get", job=job, step=step, set=0, ranges=[[digest, 0, size]], anew=True)
    answer = node.next("contents")
    assert answer
    return answer["error"], b"".join(node.received[-1][2])


def ends(node: Stranger, job: str, *steps: int) -> None:
    """Report that these steps have succeeded."""
    rows = [[step, "S", 0, None, 1.0, 0.1, None, 1, None, 0, 0, 0, None] for step in steps]
    node.send("results", b"", number=1, journal_position=1, jobs=[[job, rows]])


def test_a_node_gets_no_step_and_no_content_of_another_node(fleet: Fleet, nodes: Nodes, tmp_path: Path) -> None:
    path, text, digest = secret(tmp_path)
    file = write(
        tmp_path,
        f"FROM one AS web\nRUN true\nFROM two AS vault-of-two\nENV PASSWORD=hunter2\nCOPY {path} /tmp/secret\n"
        "FROM one\nRUN again\n",
    )
    job = fleet.submit("--orchestrate", file)
    assert nodes["one"].next("slice")
    assert steps_sent(nodes["one"], job) == [0], "the step after the barrier is not sent with the one before it"
    for step in (0, 1, 2, 3, -1, 99):
        assert blob(nodes["one"], job, step, digest) == blob(nodes["one"], job, step, NONE)
        assert blob(nodes["one"], job, step, digest)[0] == "this job does not offer that content"
    for said in ("hunter2", digest[:20], "vault-of-two", text):
        received = [one for one in nodes["one"].received if one[0] != "contents"]
        nodes["one"].received[:] = received
        assert not has_seen(nodes["one"], said), said
    assert fleet.director("--cancel-job", job).returncode == 0


def test_a_plan_sends_a_node_what_concerns_it(fleet: Fleet, nodes: Nodes, tmp_path: Path) -> None:
    path, text, _ = secret(tmp_path)
    own, mine, _ = secret(tmp_path, "own")
    file = write(tmp_path, f"FROM one\nCOPY {own} /tmp/own\nFROM two\nENV PASSWORD=hunter2\nCOPY {path} /tmp/secret\n")
    asked = fleet.begin("--plan", file)
    for node in nodes.values():
        question = node.next("dry_run")
        assert question
        node.send("dry_run_result", b"[]", req=question["req"], error="no", sets={})
    assert asked.wait(100) == 0
    assert has_seen(nodes["two"], text) and has_seen(nodes["two"], "hunter2") and has_seen(nodes["one"], mine)
    assert not any(has_seen(nodes["one"], said) for said in (text, "hunter2", path))
    assert not has_seen(nodes["two"], mine)


@pytest.mark.parametrize("way", ["job", "plan"])
def test_a_file_for_each_node_is_not_for_the_others(fleet: Fleet, nodes: Nodes, tmp_path: Path, way: str) -> None:
    files = {name: secret(tmp_path, f"{name}.key") for name in nodes}
    text = f"COPY {tmp_path}/{{{{ node.id }}}}.key /tmp/key"
    if way == "plan":
        asked = fleet.begin("--plan", write(tmp_path, text), "--target", "all")
        for name, node in nodes.items():
            question = node.next("dry_run")
            assert question
            node.send("dry_run_result", b"[]", req=question["req"], error="no", sets={})
            assert [has_seen(node, content) for _, content, _ in files.values()] == [name == one for one in files]
        assert asked.wait(100) == 0
        return
    job = fleet.submit("--exec", text, "--target", "all")
    for name, node in nodes.items():
        assert node.next("slice")
        for owner, (_, content, digest) in files.items():
            assert owner == name or not has_seen(node, digest), "not even its digest, by which it could be guessed"
            expected = ("", content.encode()) if owner == name else ("this job does not offer that content", b"")
            assert blob(node, job, 0, digest, len(content)) == expected
            node.received.pop()
    assert fleet.director("--cancel-job", job).returncode == 0


def test_a_run_once_step_is_sent_to_its_node_only(fleet: Fleet, nodes: Nodes, tmp_path: Path) -> None:
    file = write(tmp_path, "FROM all\nRUN first\nRUN --run-once make-secret\nRUN last\n")
    job = fleet.submit("--orchestrate", file)
    for node in nodes.values():
        assert node.next("slice")
    wait_until(lambda: nodes["one"].next("slice", 1.0) or steps_sent(nodes["two"], job) or True, "slices came")
    for node in nodes.values():
        while node.next("slice", 1.0):
            pass
    found = {name: sorted(steps_sent(node, job)) for name, node in nodes.items()}
    assert sorted(found.values()) == [[0, 1, 2], [0, 2]], found
    assert sum(has_seen(node, "make-secret") for node in nodes.values()) == 1
    assert fleet.director("--cancel-job", job).returncode == 0


def test_a_guessed_digest_borrows_nothing(fleet: Fleet, nodes: Nodes, tmp_path: Path) -> None:
    path, text, digest = secret(tmp_path)
    victim = fleet.submit("--exec", f"COPY {path} /tmp/x", "--target", "two")
    job = fleet.submit("--exec", "COPY --from=one /list /tmp/y", "--target", "one")
    spy = nodes["one"]
    while (found := spy.next("slice")) and found["job"] != job:
        pass
    spy.send("borrow", job=job, step=0, set=0)
    assert spy.next("lend")
    rows = [["file", "", 0o644, len(text), digest, "", "list"]]
    spy.send("offer", ujson.dumps(rows).encode(), job=job, step=0, set=0, part=0, parts=1, error="")
    pulled = spy.next("get", 5.0)
    assert pulled and pulled["ranges"] == [[digest, 0, len(text)]], "the server reads the source, not its own store"
    assert blob(spy, job, 0, digest) == ("this job does not offer that content", b"")
    spy.send("contents", b"x" * len(text), job=job, step=0, set=0, ranges=[[digest, 0, len(text)]], error="")
    answer = spy.next("sources")
    assert answer and "changed" in answer["error"]
    assert blob(spy, job, 0, digest) == ("this job does not offer that content", b"")
    assert not has_seen(spy, text)
    for name in (victim, job):
        assert fleet.director("--cancel-job", name).returncode == 0


def test_a_node_borrows_only_the_sources_that_are_its_own(fleet: Fleet, nodes: Nodes) -> None:
    job = fleet.submit("--exec", "COPY --from=one /keys/{{ node.id }} /tmp/key", "--target", "all")
    spy = nodes["two"]
    while (found := spy.next("slice")) and found["job"] != job:
        pass
    for number, why in ((0, "the plan has no such sources"), (1, ""), (2, "the plan has no such sources")):
        spy.send("borrow", job=job, step=0, set=number)
        answer = spy.next("sources")
        assert answer and answer["error"] == why
    lend = nodes["one"].next("lend")
    assert lend and lend["patterns"] == ["/keys/two"]
    content = b"key of two"
    digest = hashlib.sha256(content).hexdigest()
    rows = [["file", "", 0o644, len(content), digest, "", "two"]]
    nodes["one"].send("offer", ujson.dumps(rows).encode(), job=job, step=0, set=1, part=0, parts=1, error="")
    assert nodes["one"].next("get")
    ranges = [[digest, 0, len(content)]]
    nodes["one"].send("contents", content, job=job, step=0, set=1, ranges=ranges, error="")
    assert spy.next("sources") and blob(spy, job, 0, digest, len(content)) == ("", content)
    assert blob(nodes["one"], job, 0, digest) == ("this job does not offer that content", b"")
    assert fleet.director("--cancel-job", job).returncode == 0


def test_fetch_does_not_tell_which_contents_exist(fleet: Fleet, nodes: Nodes, tmp_path: Path) -> None:
    path, text, digest = secret(tmp_path)
    victim = fleet.submit("--exec", f"COPY {path} /tmp/x", "--target", "two")
    told = []
    for guess in (digest, NONE):
        job = fleet.submit("--exec", f"FETCH /etc/x {tmp_path}/out/", "--target", "one")
        spy = nodes["one"]
        while (found := spy.next("slice")) and found["job"] != job:
            pass
        spy.received.clear()
        rows = [["file", "", 0o644, len(text), guess, "", "x"]]
        spy.send("offer", ujson.dumps(rows).encode(), job=job, step=0, set=0, part=0, parts=1, error="")
        pulled = spy.next("get", 5.0)
        spy.send("contents", b"x" * len(text), job=job, step=0, set=0, ranges=[[guess, 0, len(text)]], error="")
        stored = spy.next("stored")
        assert stored
        answers: list[Any] = [kind for kind, *_ in spy.received if kind in ("get", "stored")]
        told.append((pulled and [row[1:] for row in pulled["ranges"]], stored["error"], answers))
        assert fleet.director("--cancel-job", job).returncode == 0
    assert told[0] == told[1] and told[0][2] == ["get", "stored"]
    assert not list(tmp_path.glob("out/**/x"))
    assert fleet.director("--cancel-job", victim).returncode == 0

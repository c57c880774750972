"""Keys of nodes that were revoked, that are replaced, or that two clients have; with real processes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from harness import ROOT, Fleet, wait_until
from simulation.stranger import stranger

from director.protocol import keys, messages, tokens
from director.protocol.keys import KeyPair


def server_key(fleet: Fleet) -> str:
    """The server's public key."""
    return (fleet.folder / "server" / "server" / "curve.key").read_text().split()[0]


def key_file(fleet: Fleet, name: str, file: str = "curve.key") -> KeyPair:
    """A pair of keys of a client."""
    public, secret, *_ = (fleet.folder / name / "client" / file).read_text().split()
    return KeyPair(public, secret)


def revoke(fleet: Fleet, name: str) -> None:
    """Revoke a node."""
    done = fleet.director("--revoke-node", name)
    assert done.returncode == 0, done.stderr


def rotate(fleet: Fleet, target: str) -> None:
    """Let nodes replace their keys."""
    done = fleet.director("--rotate-key", target)
    assert done.returncode == 0, done.stderr


def is_replaced(fleet: Fleet, name: str, former: KeyPair) -> bool:
    """Whether the node is online with a key that server and client alone have left."""
    row, present = fleet.nodes()[name], key_file(fleet, name).public
    is_done = not (fleet.folder / name / "client" / "curve.key.new").exists()
    return is_done and row["state"] == "online" and former.public != present == row["key"]


def wait_for(path: Path) -> str:
    """A step that runs until the file is there."""
    return f"RUN while [ ! -e {path} ]; do sleep 0.1; done; echo done"


def crash(fleet: Fleet, name: str, point: str) -> None:
    """Let the process, once it is started, be killed at this call."""
    fleet.programs[name] = [str(ROOT / "tests/crash_at.py"), *point.split()]


def test_no_connection_of_a_revoked_key_becomes_a_session(fleet: Fleet) -> None:
    """The key had several connections; only the one with the session could be cut at once."""
    pair, key = keys.new_pair(), server_key(fleet)
    with stranger(fleet.port, key, pair) as first, stranger(fleet.port, key, pair) as second:
        assert first.enroll("web")[0] == "enrolled" and first.hello("web") is not None
        assert second.next("identify") is not None, "it is connected, and has said nothing yet"
        revoke(fleet, "web")
        first.send("heartbeat", journal_position=0)
        assert second.hello("web", process_token="x") is None
        second.send("enroll", v=messages.VERSION, name="other", version="1", token="", proof="")
        assert second.next("identify", 1.0) is None and first.next("identify", 1.0) is None
    assert {name: row["state"] for name, row in fleet.nodes().items()} == {"web": "revoked"}


def test_a_revoked_node_is_no_target_and_its_key_outlives_its_name(fleet: Fleet) -> None:
    fleet.start_clients(2)
    fleet.wait_online(["node-1", "node-2"])
    waits = fleet.submit("--exec", "RUN sleep 600\nRUN true", "--target", "node-1")
    wait_until(lambda: fleet.job(waits)["tasks"]["running"], "the task runs")
    revoke(fleet, "node-1")
    fleet.kill("server")
    fleet.restart("server")
    assert {task["state"] for step in fleet.wait_job(waits)["steps"] for task in step["tasks"]} <= {"lost", "skipped"}
    for target in ("node-1", "node-[1-2]"):
        done = fleet.director("--exec", "RUN true", "--target", target)
        assert done.returncode == 5 and "node-1" in done.stderr and "is revoked" in done.stderr
    fleet.wait_online(["node-2"])
    for target in ("node-*", "all"):
        job = fleet.wait_job(fleet.submit("--exec", "RUN true", "--target", target))
        assert [task["node"] for task in job["steps"][0]["tasks"]] == ["node-2"]
    assert fleet.director("--purge-nodes", "--node", "node-1").returncode == 0
    assert "node-1" not in fleet.nodes()
    with stranger(fleet.port, server_key(fleet), key_file(fleet, "node-1")) as peer:
        assert peer.next("identify", 2.0) is None, "the connection is refused"


def test_a_token_opens_a_revoked_name_only_after_a_renewal(fleet: Fleet) -> None:
    token = tokens.decode(fleet.submit("--create-token", "--reusable", "--label", "tier=web"))
    with stranger(fleet.port, server_key(fleet)) as peer:
        assert peer.enroll("web", token)[0] == "enrolled" and peer.hello("web") is not None
        revoke(fleet, "web")
    with stranger(fleet.port, server_key(fleet)) as peer:
        outcome, reason = peer.enroll("web", token)
        assert outcome == "refused" and "the key of web was revoked" in reason
        assert fleet.director("--renew-node", "web").returncode == 0
        assert peer.enroll("web", token)[0] == "enrolled" and peer.hello("web") is not None
    assert fleet.nodes()["web"]["labels"] == {"tier": "web"}


def test_a_key_is_replaced_while_a_task_runs(fleet: Fleet) -> None:
    fleet.start_clients(2)
    fleet.wait_online(["node-1", "node-2"])
    first, second = key_file(fleet, "node-1"), key_file(fleet, "node-2")
    fleet.stop("node-2")
    text = f"RUN echo one\n{wait_for(fleet.folder / 'go')}\nRUN echo three"
    runs = fleet.submit("--exec", text, "--target", "node-1")
    wait_until(lambda: fleet.job(runs)["tasks"]["running"], "the task runs")
    rotate(fleet, "node-*")
    wait_until(lambda: is_replaced(fleet, "node-1", first), "it has another key")
    (fleet.folder / "go").touch()
    job = fleet.wait_job(runs)
    assert [step["tasks"][0]["stdout"] for step in job["steps"]] == ["one\n", "done\n", "three\n"]
    fleet.kill("server")
    fleet.restart("server")
    fleet.restart("node-2")
    wait_until(lambda: is_replaced(fleet, "node-2", second), "it has got the order when it came back")
    for former in (first, second):
        with stranger(fleet.port, server_key(fleet), former) as peer:
            assert peer.next("identify", 2.0) is None, "the former key is refused"
    assert fleet.wait_job(fleet.submit("--exec", "RUN true"))["state"] == "success"


POINTS_OF_CLIENT = {
    "made": "after 1 director.agent.node_keys:NodeKeys.make_next",
    "told": "after 1 director.agent.node_keys:KeyRotation._rotate",
    "noted": "after 1 director.agent.node_keys:NodeKeys.use_next",
    "welcomed": "before 1 director.agent.node_keys:NodeKeys._forget_former",
    "renamed": "before 1 director.agent.node_keys:sync_folder",
}


def test_a_client_that_is_killed_while_its_key_is_replaced_comes_back(fleet: Fleet) -> None:
    for name, point in POINTS_OF_CLIENT.items():
        crash(fleet, name, point)
        fleet.start_client(name)
    fleet.wait_online(POINTS_OF_CLIENT)
    former = {name: key_file(fleet, name) for name in POINTS_OF_CLIENT}
    ended = fleet.wait_job(fleet.submit("--exec", "RUN echo done"))
    assert ended["tasks"]["success"] == len(POINTS_OF_CLIENT)
    rotate(fleet, "all")
    for name in POINTS_OF_CLIENT:
        wait_until(lambda name=name: fleet.processes[name].poll() is not None, f"{name} is killed")
        fleet.programs.pop(name)
    job = fleet.submit("--exec", "RUN echo done", "--target", "*")
    for name in POINTS_OF_CLIENT:
        fleet.restart(name)
    for name in POINTS_OF_CLIENT:
        wait_until(lambda name=name: is_replaced(fleet, name, former[name]), f"{name} has another key")
    assert fleet.wait_job(job)["tasks"]["success"] == len(POINTS_OF_CLIENT)
    assert not waiting(fleet)


POINTS_OF_SERVER = [
    "before 2 director.server.rotation:Rotation.tell",
    "before 1 director.server.rotation:Rotation.take",
    "after 1 director.server.rotation:Rotation.take",
    "before 1 director.server.rotation:Rotation._answer",
    "before 1 director.server.rotation:Rotation.complete",
    "after 1 director.server.rotation:Rotation.complete",
]


def test_a_server_that_is_killed_while_a_key_is_replaced_knows_the_node_again(fleet: Fleet) -> None:
    fleet.start_client("web")
    fleet.wait_online(["web"])
    runs = fleet.submit("--exec", f"RUN echo one\n{wait_for(fleet.folder / 'go')}\nRUN echo three")
    wait_until(lambda: fleet.job(runs)["tasks"]["running"], "the task runs")
    for point in POINTS_OF_SERVER:
        former = key_file(fleet, "web")
        fleet.stop("server")
        crash(fleet, "server", point)
        fleet.restart("server")
        fleet.wait_online(["web"])
        fleet.director("--rotate-key", "web")
        wait_until(lambda: fleet.processes["server"].poll() is not None, f"the server is killed {point}")
        fleet.programs.pop("server")
        fleet.restart("server")
        wait_until(lambda former=former: is_replaced(fleet, "web", former), f"it has another key after {point}")
    (fleet.folder / "go").touch()
    job = fleet.wait_job(runs)
    assert [step["tasks"][0]["stdout"] for step in job["steps"]] == ["one\n", "done\n", "three\n"]
    assert not waiting(fleet)


def test_a_copied_key_puts_its_node_into_quarantine(fleet: Fleet) -> None:
    fleet.start_client("web")
    fleet.wait_online(["web"])
    runs = fleet.submit("--exec", f"{wait_for(fleet.folder / 'go')}")
    wait_until(lambda: fleet.job(runs)["tasks"]["running"], "the task runs")
    shutil.copytree(fleet.folder / "web", fleet.folder / "copy")
    fleet.start_client("copy", "--identity", "web")
    wait_until(lambda: "its state folder was copied" in fleet.log("copy"), "the second client is refused")
    fleet.kill("copy")
    reason = "two clients have its key, at 127.0.0.1 and at 127.0.0.1"
    assert reason in fleet.nodes()["web"]["reason"]
    waits = fleet.submit("--exec", "RUN true", "--target", "web")
    (fleet.folder / "go").touch()
    assert fleet.wait_job(runs)["state"] == "success", "what runs goes on"
    fleet.kill("server")
    fleet.restart("server")
    fleet.wait_online(["web"])
    waiter = fleet.begin("--wait-job", waits)
    assert waiter.stderr is not None
    wait_until(lambda: reason in waiter.stderr.readline(), "the waiter is told")  # type: ignore[union-attr]
    assert fleet.job(waits)["tasks"]["queued"] == 1
    refused = fleet.director("--accept-node", "web")
    assert refused.returncode == 2 and "--key" in refused.stderr
    assert fleet.director("--accept-node", "web", "--key", key_file(fleet, "web").public).returncode == 0
    assert fleet.wait_job(waits)["state"] == "success"
    assert waiter.wait(60) == 0
    assert not fleet.nodes()["web"]["reason"]


def test_a_stolen_key_does_not_get_out_of_the_quarantine_by_another_name(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet(beat="5s")  # which gives the client the time to answer on a busy machine
    fleet.start_server()
    fleet.start_client("web")
    fleet.wait_online(["web"])
    with stranger(fleet.port, server_key(fleet), key_file(fleet, "web")) as thief:
        assert thief.next("identify") is not None
        result, reason = thief.enroll("other")
        assert result == "refused" and "belongs to the node web" in reason
        assert thief.hello("web") is None
        wait_until(lambda: "two clients have its key" in (fleet.nodes()["web"]["reason"] or ""), "it is in quarantine")
        fleet.stop("web")
        assert thief.enroll("other")[0] == "refused"
        assert fleet.nodes()["web"]["state"] == "offline"
        waits = fleet.submit("--exec", "RUN true", "--target", "web")
        assert thief.hello("web") is not None and thief.next("slice", 2.0) is None, "it is the node, and gets no steps"
    fleet.restart("web")
    assert fleet.director("--accept-node", "web", "--key", key_file(fleet, "web").public).returncode == 0
    assert fleet.wait_job(waits)["state"] == "success"


def test_a_client_that_starts_again_at_once_is_no_copy(fleet: Fleet) -> None:
    fleet.start_client("web")
    fleet.wait_online(["web"])
    for _ in range(4):
        fleet.kill("web")
        before = fleet.log("web").count("reconciled")
        fleet.restart("web")
        wait_until(lambda before=before: fleet.log("web").count("reconciled") > before, "it is welcomed")
    assert not fleet.nodes()["web"]["reason"]
    assert "refuses" not in fleet.log("web")


def waiting(fleet: Fleet) -> list[str]:
    """The names that keys wait for."""
    return [row["id"] for row in fleet.run_json("--list-nodes", "--state", "pending")]

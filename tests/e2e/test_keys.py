"""Keys of nodes that were revoked, that are replaced, or that two clients have; with real processes."""

from __future__ import annotations

from harness import Fleet, wait_until
from stranger import stranger

from director.protocol import keys, tokens
from director.protocol.keys import KeyPair


def server_key(fleet: Fleet) -> str:
    """The server's public key."""
    return (fleet.folder / "server" / "server" / "curve.key").read_text().split()[0]


def key_file(fleet: Fleet, name: str, file: str = "curve.key") -> KeyPair:
    """A pair of keys of a client."""
    public, secret = (fleet.folder / name / "client" / file).read_text().split()
    return KeyPair(public, secret)


def revoke(fleet: Fleet, name: str) -> None:
    """Revoke a node."""
    done = fleet.director("--revoke-node", name)
    assert done.returncode == 0, done.stderr


def test_no_connection_of_a_revoked_key_becomes_a_session(fleet: Fleet) -> None:
    """The key had several connections; only the one with the session could be cut at once."""
    pair, key = keys.new_pair(), server_key(fleet)
    with stranger(fleet.port, key, pair) as first, stranger(fleet.port, key, pair) as second:
        assert first.enroll("web")[0] == "enrolled" and first.hello("web") is not None
        assert second.next("identify") is not None, "it is connected, and has said nothing yet"
        revoke(fleet, "web")
        for peer in (first, second):
            assert peer.hello("web", process_token="x") is None
            assert peer.enroll("other")[0] == "silence"
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

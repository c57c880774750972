"""Who gets a name, with real processes: strangers, tokens, renewals, orders of operators, revoked keys."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest
from harness import ROOT, Fleet, wait_until
from simulation.stranger import stranger

from director.protocol import keys, messages, tokens
from director.protocol.tokens import Token
from director.server.pending import MOST_AN_ADDRESS

RENEWED = 500


def server_key(fleet: Fleet) -> str:
    """The server's public key."""
    return (fleet.folder / "server" / "server" / "curve.key").read_text().split()[0]


def waiting(fleet: Fleet) -> dict[str, str]:
    """The key and the reason of each name that a key waits for."""
    return {row["id"]: row["reason"] for row in fleet.run_json("--list-nodes", "--state", "pending")}


def new_token(fleet: Fleet, *options: str) -> str:
    """A token as an operator makes it."""
    return fleet.submit("--create-token", *options)


def start_with(fleet: Fleet, name: str, token: str, **more: str) -> None:
    """Start a client that has a token and nothing else."""
    fleet.spawn(
        name, ["--client", "--identity", more.pop("identity", name), "--state-dir", str(fleet.folder / name)],
        {"DIRECTOR_TOKEN": token, **more},
    )  # fmt: skip


def forget_state(fleet: Fleet, name: str) -> None:
    """What happens to a container without a volume: the client and its state folder are gone."""
    fleet.kill(name)
    shutil.rmtree(fleet.folder / name)


@pytest.mark.parametrize("holder", ["online", "killed", "stopped", "silent"])
def test_no_stranger_gets_a_known_name(fleet: Fleet, holder: str) -> None:
    fleet.start_client("web")
    fleet.wait_online(["web"])
    if holder == "stopped":
        fleet.stop("web")
    elif holder != "online":
        fleet.kill("web", 9 if holder == "killed" else 19)
    if holder != "online":
        wait_until(lambda: fleet.nodes()["web"]["state"] == "offline", "it is offline")
    job = fleet.submit("--exec", "ENV PASSWORD=hunter2\nRUN echo done", "--target", "web")
    with stranger(fleet.port, server_key(fleet)) as peer:
        for _ in range(3):
            outcome, reason = peer.enroll("web")
            assert outcome == "refused" and "belongs to another key" in reason
            assert peer.hello("web", within=1.0) is None
        assert not peer.kinds() - {"identify", "refused"}
        assert list(waiting(fleet)) == ["web"]
    if holder != "online":
        (fleet.kill if holder == "silent" else fleet.restart)("web", *([18] if holder == "silent" else []))
    assert fleet.wait_job(job)["state"] == "success", "who has the key gets the job"
    assert fleet.nodes()["web"]["state"] == "online"


def test_a_server_that_starts_again_gives_no_name_away(fleet: Fleet) -> None:
    fleet.start_client("web")
    fleet.wait_online(["web"])
    fleet.kill("web")
    fleet.kill("server")
    fleet.restart("server")
    with stranger(fleet.port, server_key(fleet)) as peer:
        assert peer.enroll("web")[0] == "refused"
    fleet.restart("web")
    fleet.wait_online(["web"])


def test_a_key_that_is_no_node_can_do_nothing_but_ask(fleet: Fleet) -> None:
    fleet.start_client("web")
    fleet.wait_online(["web"])
    with stranger(fleet.port, server_key(fleet)) as peer:
        assert peer.next("identify") == {"v": messages.VERSION, "within": 0.0, "known": False}
        peer.send("heartbeat", journal_position=0)
        peer.send("results", b"", number=1, journal_position=1, jobs=[])
        peer.send("get", job="x", step=0, set=0, ranges=[["0" * 64, 0, 10]], anew=True)
        peer.send("profile", facts={}, labels={}, args={})
        assert peer.next("welcome", 1.0) is None
        assert peer.kinds() <= {"identify"}
    assert set(fleet.nodes()) == {"web"}


def test_a_token_is_all_that_a_client_needs(fleet: Fleet) -> None:
    token = new_token(fleet, "--label", "tier=web", "--nodes", "web-*", "--max-nodes", "1")
    start_with(fleet, "web-1", token)
    fleet.wait_online(["web-1"])
    assert fleet.nodes()["web-1"]["labels"] == {"tier": "web"}
    assert "first contact" not in fleet.log("web-1"), "it asked nobody in clear"
    start_with(fleet, "web-2", token)
    wait_until(lambda: "has enrolled its 1 nodes" in fleet.log("web-2"), "the token has no place left")
    start_with(fleet, "db", token)
    wait_until(lambda: "is for the nodes web-*, not for db" in fleet.log("db"), "the token is not for this name")
    listed = fleet.director("--list-tokens", "--output", "json").stdout
    assert [row["id"] for row in fleet.run_json("--list-nodes", "--token", tokens.decode(token).id)] == ["web-1"]
    assert fleet.director("--list-nodes", "--token", "none").returncode == 6
    assert tokens.decode(token).seed.hex() not in listed and token not in listed
    assert '"used": 1' in listed or '"used":1' in listed


@pytest.mark.parametrize("enrollment", ["token", "manual"])
def test_without_a_token_a_key_waits_until_it_is_accepted(new_fleet: Callable[..., Fleet], enrollment: str) -> None:
    fleet = new_fleet()
    fleet.start_server("--enrollment", enrollment)
    fleet.start_client("web")
    wait_until(lambda: "web" in waiting(fleet), "its key waits")
    assert "--accept-node web" in fleet.log("web"), "its own log says what to do"
    refused = fleet.director("--accept-node", "web")
    assert refused.returncode == 2 and "--key" in refused.stderr, "there is no terminal to look at the key"
    key = fleet.run_json("--list-nodes", "--state", "pending")[0]["key"]
    assert fleet.director("--accept-node", "web", "--key", key[:10]).returncode == 0
    fleet.wait_online(["web"])
    assert not waiting(fleet)


def on_a_terminal(fleet: Fleet, answer: str, *args: str) -> tuple[int, str]:
    """Run a command whose stdin and stderr are a terminal, on which `answer` is typed; exit code and what it shows."""
    master, terminal = pty.openpty()
    process = fleet.begin(*args, stdin=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(master, 4096)
    os.write(master, answer.encode())
    code = process.wait(60)
    os.close(master)
    return code, shown.decode()


def test_on_a_terminal_the_keys_are_shown_and_asked_about(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.start_server("--enrollment", "manual")
    with stranger(fleet.port, server_key(fleet)) as one, stranger(fleet.port, server_key(fleet)) as two:
        assert one.enroll("web-1")[0] == two.enroll("web-2")[0] == "refused"
        code, shown = on_a_terminal(fleet, "n\n", "--accept-node", "web-*")
        assert code == 2 and one.pair.public in shown and two.pair.public in shown
        assert set(waiting(fleet)) == {"web-1", "web-2"}
        assert on_a_terminal(fleet, "y\n", "--accept-node", "web-1")[0] == 0
        assert one.enroll("web-1") == ("enrolled", "")
        assert fleet.director("--reject-node", "web-2", "--yes").returncode == 0
        assert not waiting(fleet)
        with stranger(fleet.port, server_key(fleet)) as three:
            assert two.enroll("web-2")[0] == three.enroll("web-2")[0] == "refused"
            several = fleet.director("--accept-node", "web-2", "--yes")
            assert several.returncode == 2 and three.pair.public in several.stderr, "say which"


def test_a_token_that_ended_or_was_changed_lets_nobody_in(fleet: Fleet) -> None:
    token = tokens.decode(new_token(fleet))
    id = new_token(fleet, "--max-nodes", "5")
    assert fleet.director("--revoke-token", tokens.decode(id).id).returncode == 0
    forged = Token(token.id, token.addresses, token.server_key, b"x" * 32)
    with stranger(fleet.port, server_key(fleet)) as peer:
        assert "was revoked" in peer.enroll("web", tokens.decode(id))[1]
        assert "another secret" in peer.enroll("web", forged)[1]
        stolen = token.proof(keys.new_pair().public, "web")  # what another client has sent
        assert "another secret" in peer.enroll("web", token, proof=stolen)[1]
        assert peer.enroll("web", token) == ("enrolled", "")


def test_a_reusable_token_gives_a_name_to_a_new_key_only_when_its_holder_is_gone(fleet: Fleet) -> None:
    token = new_token(fleet, "--reusable", "--label", "tier=web", "--max-nodes", "1")
    start_with(fleet, "web", token)
    fleet.wait_online(["web"])
    first = fleet.nodes()["web"]["key"]
    start_with(fleet, "thief", token, identity="web")
    wait_until(lambda: "belongs to a node that is online" in fleet.log("thief"), "the holder is there")
    fleet.kill("thief")
    runs = fleet.submit("--exec", "RUN sleep 600")
    wait_until(lambda: fleet.job(runs)["tasks"]["running"], "the task runs")
    forget_state(fleet, "web")
    waits = fleet.submit("--exec", "RUN echo {{ node.labels.tier }}", "--target", "web")
    fleet.restart("web")
    assert fleet.wait_job(waits)["steps"][0]["tasks"][0]["stdout"] == "web\n", "labels and queued tasks stay"
    assert fleet.wait_job(runs)["steps"][0]["tasks"][0]["state"] == "lost"
    assert fleet.nodes()["web"]["key"] != first
    (row,) = fleet.run_json("--list-tokens")
    assert row["used"] == 1, "the name has its place already"


def test_the_former_key_of_a_name_is_of_no_use(fleet: Fleet) -> None:
    token = new_token(fleet, "--reusable")
    start_with(fleet, "web", token)
    fleet.wait_online(["web"])
    fleet.kill("web")
    shutil.move(str(fleet.folder / "web"), str(fleet.folder / "stolen"))
    former = fleet.nodes()["web"]["key"]
    fleet.restart("web")
    wait_until(lambda: fleet.nodes()["web"]["key"] != former, "the name has the new key")
    public, secret, *_ = (fleet.folder / "stolen" / "client" / "curve.key").read_text().split()
    with stranger(fleet.port, server_key(fleet), keys.KeyPair(public, secret)) as peer:
        assert peer.next("identify", 2.0) is None, "the connection is refused"


def test_another_token_does_not_take_a_name_over(fleet: Fleet) -> None:
    start_with(fleet, "web", new_token(fleet))
    fleet.wait_online(["web"])
    forget_state(fleet, "web")
    start_with(fleet, "web", new_token(fleet, "--reusable"))
    wait_until(lambda: "belongs to another key" in fleet.log("web"), "the name stays with its key")
    former = fleet.nodes()["web"]["key"]
    assert fleet.director("--renew-node", "web").returncode == 0
    fleet.kill("web")
    fleet.restart("web")
    wait_until(lambda: fleet.nodes()["web"]["key"] != former, "the name has the new key")
    start_with(fleet, "next", new_token(fleet), identity="web")
    wait_until(lambda: "belongs to another key" in fleet.log("next"), "a renewal serves once")


def test_a_purged_name_is_new_but_not_for_those_who_waited_for_it(fleet: Fleet) -> None:
    fleet.start_client("web")
    fleet.wait_online(["web"])
    with stranger(fleet.port, server_key(fleet)) as peer:
        assert peer.enroll("web")[0] == "refused"
        forget_state(fleet, "web")
        wait_until(lambda: fleet.nodes()["web"]["state"] != "online", "it is offline")
        assert fleet.director("--purge-nodes", "--node", "web").returncode == 0
        outcome, reason = peer.enroll("web")
        assert outcome == "refused" and "waited for the name when it was purged" in reason
    fleet.restart("web")
    fleet.wait_online(["web"])


def test_a_revoked_key_is_cut_off_and_stays_out(fleet: Fleet) -> None:
    fleet.start_clients(2)
    fleet.wait_online(["node-1", "node-2"])
    runs = fleet.submit("--exec", "RUN sleep 600", "--target", "node-1")
    wait_until(lambda: fleet.job(runs)["tasks"]["running"], "the task runs")
    assert fleet.director("--revoke-node", "node-1").returncode == 0
    assert fleet.wait_job(runs)["steps"][0]["tasks"][0]["state"] == "lost"
    assert fleet.nodes()["node-1"]["state"] == "revoked"
    wait_until(lambda: "revoked the key of this client" in fleet.log("node-1"), "it has no connection any more")
    fleet.kill("server")
    fleet.restart("server")
    fleet.stop("node-1")
    fleet.restart("node-1")
    fleet.wait_online(["node-2"])
    public, secret, *_ = (fleet.folder / "node-1" / "client" / "curve.key").read_text().split()
    with stranger(fleet.port, server_key(fleet), keys.KeyPair(public, secret)) as peer:
        assert peer.next("identify", 2.0) is None, "the connection is refused"
    assert fleet.nodes()["node-1"]["state"] == "revoked"
    fleet.start_client("other", "--identity", "node-1")
    wait_until(lambda: "the key of node-1 was revoked" in fleet.log("other"), "the name stays taken")


def test_a_pinned_client_believes_nothing_that_comes_in_clear(fleet: Fleet) -> None:
    """A rogue enrolment port would show another key, or say that the client must wait; nobody asks it."""
    fleet.start_client("web")
    fleet.wait_online(["web"])
    fleet.stop("web")
    fleet.commands["web"][fleet.commands["web"].index("--enroll-port") + 1] = "1"  # nobody is there
    fleet.restart("web")
    fleet.wait_online(["web"])
    fleet.start_client("given", "--server-key", server_key(fleet), "--enroll-port", "1")
    fleet.wait_online(["given"])
    wrong = keys.new_pair().public
    fleet.start_client("wrong", "--server-key", wrong)
    wait_until(lambda: f"no server with the key {wrong}" in fleet.log("wrong"), "it trusts another key")
    assert "wrong" not in fleet.nodes()


def start_simulated(fleet: Fleet, count: int, token: str) -> None:
    """Start simulated nodes with new keys, whose names are always the same."""
    words = [sys.executable, "-m", "simulation", str(count), "--port", str(fleet.port), "--processes", "1"]
    env = {**fleet.environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}", "DIRECTOR_TOKEN": token}
    with open(fleet.folder / "simulated.log", "ab") as log:
        fleet.processes["simulated"] = subprocess.Popen(words, cwd=ROOT, env=env, stdout=log, stderr=log)


def test_five_hundred_names_are_opened_by_one_order(fleet: Fleet) -> None:
    start_simulated(fleet, RENEWED, new_token(fleet))
    names = [f"sim-{number:05d}" for number in range(RENEWED)]
    fleet.wait_online(names)
    keys_before = {name: node["key"] for name, node in fleet.nodes().items()}
    assert fleet.director("--exec", "RUN true", "--wait").returncode == 0
    fleet.processes["simulated"].terminate()
    fleet.processes["simulated"].wait(20)
    start_simulated(fleet, RENEWED, new_token(fleet))
    wait_until(lambda: len(waiting(fleet)) >= MOST_AN_ADDRESS, "their new keys wait, as many as one address may have")
    assert fleet.director("--renew-node", "sim-*").returncode == 0

    def renewed() -> bool:
        nodes = fleet.nodes()
        return all(nodes[name]["key"] != keys_before[name] and nodes[name]["state"] == "online" for name in names)

    wait_until(renewed, "all are back with their new keys", every=0.5)
    job = fleet.run_json("--exec", "RUN true", "--wait")
    assert job["tasks"]["success"] == RENEWED

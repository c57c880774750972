"""The enrolment port over real TCP, and who gets a name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
import ujson
from gevent import socket
from harness import free_ports

from director.errors import StartError
from director.protocol import messages
from director.server import enrolment as module
from director.server.enrolment import Enrolment
from director.server.roster import NodeRecord, Roster

KEYS = [letter * 40 for letter in "abcd"]


class Port:
    """An open enrolment port on a roster."""

    def __init__(self) -> None:
        self.roster = Roster()
        self.adopted: list[tuple[str, str, str]] = []
        self.identify: Callable[[bytes], bool] = lambda peer: False
        self.enrolment = Enrolment(self.roster, "s" * 40, self._adopt, lambda peer: self.identify(peer))
        self.port = free_ports(1)[0]
        self.enrolment.listen("127.0.0.1", self.port)

    def _adopt(self, record: NodeRecord, why: str) -> None:
        self.adopted.append((record.name, record.key, why))
        self.roster.add(record)

    def call(self, data: bytes) -> Any:
        with gevent.Timeout(10), socket.create_connection(("127.0.0.1", self.port)) as link:
            link.sendall(data)
            answer = b""
            while part := link.recv(4096):
                answer += part
        return ujson.loads(answer)

    def ask(self, **fields: Any) -> Any:
        return self.call(ujson.dumps({"v": messages.VERSION, **fields}).encode() + b"\n")

    def join(self, name: str, key: str) -> NodeRecord:
        """Ask for the name, and prove the key as a connection would."""
        assert self.ask(name=name, key=key)["status"] == "ok"
        record = self.enrolment.confirm(key)
        assert record is not None
        record.peer, record.online, record.heard = b"\0peer", True, time.monotonic()
        return record


@pytest.fixture
def port() -> Iterator[Port]:
    made = Port()
    yield made
    made.enrolment.stop()


def test_without_a_name_it_only_tells_the_key(port: Port) -> None:
    assert port.ask() == {"v": messages.VERSION, "server_key": "s" * 40}


def test_a_request_makes_a_candidate_and_a_proof_makes_a_node(port: Port) -> None:
    assert not port.enrolment.admits(KEYS[0])
    assert port.ask(name="web", key=KEYS[0])["status"] == "ok"
    assert port.enrolment.admits(KEYS[0])
    assert not port.roster.nodes
    record = port.enrolment.confirm(KEYS[0])
    assert record is not None and record.name == "web"
    assert port.adopted == [("web", KEYS[0], "")]
    assert port.enrolment.confirm(KEYS[0]) is None, "a proof counts once"
    assert port.enrolment.confirm(KEYS[1]) is None


def test_of_two_keys_that_ask_at_once_the_first_that_proves_itself_is_kept(port: Port) -> None:
    for key in KEYS[:2]:
        assert port.ask(name="web", key=key)["status"] == "ok"
    record = port.enrolment.confirm(KEYS[1])
    assert record is not None
    assert port.enrolment.confirm(KEYS[0]) is None
    assert port.roster.nodes["web"] is record


def test_the_same_key_may_come_back(port: Port) -> None:
    port.join("web", KEYS[0])
    assert port.ask(name="web", key=KEYS[0])["status"] == "ok"


def test_a_second_key_is_refused_while_the_holder_answers(port: Port) -> None:
    holder = port.join("web", KEYS[0])

    def answer(peer: bytes) -> bool:
        assert peer == holder.peer
        gevent.spawn_later(0.01, lambda: setattr(holder, "heard", time.monotonic() + 1))
        return True

    port.identify = answer
    refused = port.ask(name="web", key=KEYS[1])
    assert refused["status"] == "pending"
    assert "--identity" in refused["reason"]
    assert not port.enrolment.admits(KEYS[1])
    assert port.roster.nodes["web"] is holder
    pending = port.enrolment.pending["web"]
    assert (pending.key, pending.address) == (KEYS[1], "127.0.0.1")
    since = pending.since
    port.ask(name="web", key=KEYS[1])
    assert port.enrolment.pending["web"].since == since


@pytest.mark.parametrize("gone", ["offline", "unreachable", "mute"])
def test_a_second_key_takes_the_name_of_a_silent_holder(port: Port, gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    holder = port.join("web", KEYS[0])
    holder.labels = {"tier": "web"}
    if gone == "offline":
        holder.peer = None
    port.identify = lambda peer: gone == "mute"
    assert port.ask(name="web", key=KEYS[1])["status"] == "ok"
    record = port.enrolment.confirm(KEYS[1])
    assert record is not None
    assert record.labels == {"tier": "web"}
    assert "took over" in record.reason
    assert not port.enrolment.admits(KEYS[0]), "the old key is refused"


@pytest.mark.parametrize(
    "fields",
    [{"name": "", "key": KEYS[0]}, {"name": "all", "key": KEYS[0]}, {"name": "a b", "key": KEYS[0]},
     {"name": "web", "key": "short"}, {"name": "web"}, {"name": ["web"], "key": KEYS[0]}],
)  # fmt: skip
def test_what_is_no_name_or_no_key_is_refused(port: Port, fields: dict[str, Any]) -> None:
    answer = port.ask(**fields)
    assert answer["status"] == "refused"
    assert answer["reason"]


@pytest.mark.parametrize("data", [b"hello\n", b"[]\n", b"{}\n", b"\xff\n", b"7\n"])
def test_noise_is_answered_in_one_line(port: Port, data: bytes) -> None:
    assert port.call(data)["status"] == "refused"


def test_another_version_is_told_which_one_is_spoken(port: Port) -> None:
    answer = port.call(b'{"v": 99, "name": "web", "key": "x"}\n')
    assert answer["status"] == "refused"
    assert str(messages.VERSION) in answer["reason"]


def test_candidates_and_pending_have_bounds(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CANDIDATES", 2)
    for name, key in zip("abc", KEYS, strict=False):
        port.ask(name=name, key=key)
    assert [port.enrolment.admits(key) for key in KEYS[:3]] == [False, True, True]
    monkeypatch.setattr(module, "CANDIDATE_TTL", 0.0)
    port.ask(name="d", key=KEYS[3])
    assert not port.enrolment.admits(KEYS[1])


def test_a_port_that_is_taken_is_a_start_error(port: Port) -> None:
    with pytest.raises(StartError, match="--enroll-port"):
        Enrolment(Roster(), "s" * 40, lambda record, why: None, lambda peer: False).listen("127.0.0.1", port.port)

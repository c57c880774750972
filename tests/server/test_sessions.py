"""Sessions over real sockets: who gets one, and which handler gets a message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
import ujson
from gevent import Greenlet
from gevent.queue import Queue
from harness import free_ports
from letting_in import enrolment, rotation

from director.protocol import keys, messages
from director.protocol.context import new_context
from director.protocol.transport import Authenticator, Dealer, Router
from director.runtime.greenlets import spawn
from director.server import node_sender, sessions, stranger_limits
from director.server.admission import Admission
from director.server.budgets import SHARE_MESSAGES, Budget
from director.server.node_sender import NodeSender
from director.server.roster import NodeRecord, Roster
from director.server.sessions import Sessions
from director.server.stranger_limits import OF_KEY, StrangerLimits

OTHERS = {kind for kind, spec in messages.KINDS.items() if spec.sender != "server"} - {
    "hello", "enroll", "heartbeat", "results", "profile", "goodbye",
}  # fmt: skip


class Scheduler:
    """Knows the job `j`, whose results are durable at once."""

    def __init__(self) -> None:
        self.reconciled: Queue[Any] = Queue()
        self.results: list[tuple[Any, bytes]] = []

    def reconcile(self, record: NodeRecord, cursors: dict[str, int], lost: str) -> dict[str, Any]:
        self.reconciled.put((cursors, lost))
        return {"j": {"act": "go"}}

    def online(self, record: NodeRecord) -> None:
        pass

    def take_results(self, record: NodeRecord, jobs: Any, payload: bytes, then: Any) -> None:
        self.results.append((jobs, payload))
        then(["j"])

    def tick(self, now: float) -> None:
        pass


class Ledger:
    """A disk that has room or not."""

    def __init__(self) -> None:
        self.room = True
        self.writes: list[Any] = []

    def write(self, *ops: Any, lazy: bool = False, then: Any = None) -> None:
        self.writes += ops
        if then is not None:
            then(None)

    def wait_for_room(self, seconds: float) -> bool:
        return self.room


class Scene:
    """A server's sessions, and the connection of the enrolled node `n`."""

    def __init__(self) -> None:
        self.scheduler, self.ledger, self.roster = Scheduler(), Ledger(), Roster()
        self.handled: Queue[Any] = Queue()
        self.context, self.pair, client = new_context(), keys.new_pair(), keys.new_pair()
        self.router = Router(self.context, self.pair)
        sender = NodeSender(self.router, self.roster)
        letting_in = enrolment(self.roster, self.scheduler, self.ledger, sender.identify)
        self.authenticator = Authenticator(self.context, letting_in.may_connect)
        common: Any = (self.ledger, 60.0, lambda name, record: None)
        parts: Any = (sender, self.roster, self.scheduler)
        admission = Admission(*parts, letting_in, self.ledger, rotation(self.roster, self.ledger, sender), *common[1:])
        handlers = {kind: self.handler(kind) for kind in OTHERS}
        strangers = StrangerLimits(self.router, self.roster)
        self.sessions = Sessions(self.router, *parts, admission, *common, handlers, strangers)
        address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
        self.router.bind(address)
        self.address, self.client = address, client
        self.record = NodeRecord("n", client.public)
        self.roster.add(self.record)
        self.dealer = Dealer(self.context, client, self.pair.public, address)
        self.inbox: Queue[tuple[str, dict[str, Any]]] = Queue()
        self.reader = spawn("reader", self.read, vital=False)

    def handler(self, kind: str) -> Any:
        return lambda record, fields, payload: self.handled.put((kind, record.name, fields, payload))

    def read(self) -> None:
        while (parts := self.dealer.receive()) is not None:
            self.inbox.put(tuple(ujson.loads(parts[0])))

    def next(self, kind: str) -> dict[str, Any]:
        """The fields of the next message of this kind; others are skipped."""
        with gevent.Timeout(120):
            while True:
                found, fields = self.inbox.get()
                if found == kind:
                    return fields

    def send(self, kind: str, *payload: bytes, **fields: Any) -> None:
        assert self.dealer.send(messages.encode(kind, **fields), *payload)

    def hello(self, **fields: Any) -> None:
        usual = {"v": messages.VERSION, "name": "n", "version": "1", "instance": "i", "journal_position": 7, "jobs": []}
        self.send("hello", **{**usual, **fields})

    def close(self) -> None:
        self.reader.kill()
        self.dealer.close()
        self.router.close()
        self.authenticator.stop()
        self.context.destroy(linger=0)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    running: list[Greenlet] = []

    def start(*args: Any, **options: Any) -> Greenlet:
        running.append(spawn(*args, **options))
        return running[-1]

    for module in (sessions, node_sender, stranger_limits):
        monkeypatch.setattr(module, "spawn", start)
    for module in (sessions, stranger_limits):
        monkeypatch.setattr(module, "periodic", lambda *args: None)
    made = Scene()
    made.next("identify")
    yield made
    gevent.killall(running)
    made.close()


def test_a_hello_makes_a_session_and_is_reconciled(scene: Scene) -> None:
    scene.hello(jobs=[["j", 3]])
    assert scene.next("welcome")["jobs"] == {"j": {"act": "go"}}
    assert scene.scheduler.reconciled.get(timeout=120) == ({"j": 3}, "")
    assert (scene.record.online, scene.record.journal_position) == (True, 7)
    scene.hello(journal_position=6)
    assert "older state folder" in scene.scheduler.reconciled.get(timeout=120)[1]


def test_a_hello_of_another_version_is_refused(scene: Scene) -> None:
    scene.hello(v=99)
    assert "speaks protocol" in scene.next("refused")["reason"]
    assert not scene.record.online


def test_a_hello_under_another_name_must_ask_for_that_name_first(scene: Scene) -> None:
    scene.hello(name="other")
    assert scene.next("identify")["known"] is False
    assert not scene.record.online


def test_each_kind_goes_to_its_handler(scene: Scene) -> None:
    scene.hello()
    scene.next("welcome")
    scene.send("query", job="j", step=1, name="A")
    scene.send("contents", b"data", job="j", step=1, set=0, ranges=[], error="")
    assert scene.handled.get(timeout=120) == ("query", "n", {"job": "j", "step": 1, "name": "A"}, b"")
    assert scene.handled.get(timeout=120)[3] == b"data"
    scene.send("heartbeat", journal_position=9, trouble="no room")
    scene.next("heartbeat_ack")
    assert (scene.record.journal_position, scene.record.trouble) == (9, "no room")
    scene.send("results", b"out", number=4, journal_position=10, jobs=[])
    assert scene.next("ack") == {"number": 4, "close": ["j"]}
    assert scene.scheduler.results == [([], b"out")]


def test_messages_before_a_hello_and_malformed_ones_reach_no_handler(scene: Scene) -> None:
    scene.send("query", job="j", step=1, name="A")
    scene.hello(jobs=[["j", -1]])
    scene.hello()
    scene.next("welcome")
    scene.send("query", job="j")
    scene.send("query", job="j", step=2, name="B")
    assert scene.handled.get(timeout=120)[2]["step"] == 2


def test_the_oldest_connection_of_a_key_that_has_too_many_is_ended_but_not_its_session(scene: Scene) -> None:
    """They took the descriptors of other nodes."""
    scene.hello()
    scene.next("welcome")
    others = []
    try:
        for _ in range(OF_KEY):
            others.append(Dealer(scene.context, scene.client, scene.pair.public, scene.address, pace=600.0))
            with gevent.Timeout(120):
                assert b"identify" in (others[-1].receive() or [b""])[0]
        with gevent.Timeout(120):
            while others[0].send(b"there is no connection"):
                gevent.sleep(0.01)
        assert all(other.send(b"there is one") for other in others[1:])
        scene.send("heartbeat", journal_position=9)
        scene.next("heartbeat_ack")
    finally:
        for other in others:
            other.close()


def test_results_that_were_ignored_are_requested_again(scene: Scene) -> None:
    scene.hello()
    scene.next("welcome")
    scene.ledger.room = False
    scene.send("results", b"", number=1, journal_position=8, jobs=[])
    scene.send("heartbeat", journal_position=8)
    scene.next("heartbeat_ack")
    scene.ledger.room = True
    scene.send("results", b"", number=2, journal_position=9, jobs=[])
    scene.send("heartbeat", journal_position=9)
    scene.next("heartbeat_ack")
    assert scene.scheduler.results == [], "an acknowledgement of the second would cover the first"
    scene.sessions.tick()
    assert scene.next("identify") == {"v": messages.VERSION, "within": 0.0, "known": True}


def test_a_kind_without_a_handler_is_an_error_at_the_start(scene: Scene) -> None:
    parts: Any = [None] * 6
    with pytest.raises(KeyError):
        Sessions(*parts, 60.0, lambda name, record: None, {}, None)  # type: ignore[arg-type]


def test_silence_ends_the_session(scene: Scene) -> None:
    scene.hello()
    scene.next("welcome")
    assert scene.record.heard is not None
    scene.record.heard -= 1000.0
    scene.sessions.tick()
    assert (scene.record.online, scene.record.peer) == (False, None)
    assert ("node", {"name": "n", "last_seen": scene.record.last_seen, "journal_position": 7}) in scene.ledger.writes


def test_a_node_that_sends_too_much_is_kept_out_for_a_pause(scene: Scene) -> None:
    scene.hello()
    scene.next("welcome")
    scene.record.budget.left, scene.record.budget.at = 2.0, 1e12
    for number in range(5):
        scene.send("query", job="j", step=number, name="A")
    with gevent.Timeout(120):
        while scene.record.online:
            gevent.sleep(0.01)
    assert scene.handled.qsize() <= 2 and "cut off" in scene.record.cut_off
    scene.record.budget = Budget()  # the pause is over
    scene.next("identify")
    scene.hello()
    scene.next("welcome")


def test_results_beyond_the_share_of_one_node_wait_at_the_node(scene: Scene) -> None:
    scene.hello()
    scene.next("welcome")
    scene.record.budget.messages = SHARE_MESSAGES
    scene.send("results", b"", number=1, journal_position=8, jobs=[])
    scene.send("heartbeat", journal_position=8)
    scene.next("heartbeat_ack")
    assert scene.scheduler.results == [] and scene.record.withheld
    scene.sessions.tick()
    assert scene.record.withheld, "its results still wait for the disk"
    scene.record.budget.messages = 0
    scene.sessions.tick()
    scene.next("identify")

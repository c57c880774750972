"""Requests for names while the roster, the tokens and other requests change."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
from letting_in import enrolment

from director.protocol import keys
from director.server.enrolment import Enrolment, Newcomer
from director.server.enrolment_rules import Act, Decision
from director.server.roster import NodeRecord, Roster


class Scheduler:
    """Of nodes that have no tasks."""

    def lose_all(self, record: NodeRecord, reason: str) -> None:
        pass

    abandon = lose_all

    def expire_sealed(self, record: NodeRecord) -> None:
        pass


class Ledger:
    """A disk that is always done."""

    def write(self, *ops: Any, then: Callable[[None], None] | None = None, lazy: bool = False) -> None:
        if then is not None:
            then(None)


class Scene:
    """A server with the reusable token of the node `web`, whose connection is open but silent."""

    def __init__(self, mode: str = "auto") -> None:
        self.roster = Roster()
        self.while_asked: Callable[[], object] = lambda: None
        self.questions = 0
        self.letting_in: Enrolment = enrolment(
            self.roster, Scheduler(), Ledger(), self.identify, mode=mode, interval=0.05
        )
        tokens = self.letting_in.tokens
        self.token, row = tokens.make(("localhost",), created_by="root", expires_at=time.time() + 600, reusable=True)
        tokens.put(row)
        self.web = NodeRecord("web", keys.new_pair().public, token=row.id, last_peer=b"silent")
        self.roster.add(self.web)
        self.answers: list[Decision] = []

    def identify(self, peer: bytes) -> bool:
        self.questions += 1
        self.while_asked()
        return True

    def ask(self, name: str, key: str, with_token: bool = True) -> None:
        proof = self.token.proof(key, name)
        given = (self.token.id, proof) if with_token else ("", "")
        self.letting_in.request(Newcomer(name, key, "127.0.0.1", *given), self.answers.append)

    def acts(self, count: int) -> list[Act]:
        """What was done with so many requests."""
        with gevent.Timeout(120):
            while len(self.answers) < count:
                gevent.sleep(0.01)
        return [answer.act for answer in self.answers]


def test_a_silent_holder_is_followed_by_whoever_has_the_token() -> None:
    scene, key = Scene(), keys.new_pair().public
    scene.ask("web", key)
    assert scene.acts(1) == [Act.TAKE_OVER] and scene.roster.nodes["web"].key == key


def test_a_token_that_is_revoked_while_the_holder_is_asked_takes_nothing_over() -> None:
    scene = Scene()
    scene.while_asked = lambda: scene.letting_in.tokens.revoke(scene.token.id)
    scene.ask("web", keys.new_pair().public)
    assert scene.acts(1) == [Act.REFUSE] and scene.roster.nodes["web"] is scene.web


def test_a_flood_of_requests_of_one_key_asks_the_holder_once() -> None:
    scene, key = Scene(), keys.new_pair().public
    for _ in range(1000):
        scene.ask("web", key)
    assert scene.acts(1) == [Act.TAKE_OVER] and scene.questions == 1
    scene.ask("web", key)
    assert scene.acts(2)[1] is Act.KEEP


def test_a_key_leaves_its_name_neither_while_that_is_online_nor_out_of_a_quarantine() -> None:
    """A copy of the key could have become another node, and then the first one again: without the quarantine."""
    scene = Scene()
    scene.roster.attach(scene.web, b"there")
    scene.web.heard = time.monotonic() + 600
    for with_token in (False, True):
        scene.ask("other", scene.web.key, with_token)
    scene.roster.detach(scene.web)
    scene.web.quarantine = "two clients have its key"
    scene.ask("other", scene.web.key)
    assert scene.acts(3) == [Act.WAIT] * 3 and list(scene.roster.nodes) == ["web"]
    assert "belongs to the node web" in scene.answers[0].reason
    scene.web.quarantine = ""
    scene.ask("other", scene.web.key)
    assert scene.acts(4)[3] is Act.ENROL and list(scene.roster.nodes) == ["other"]

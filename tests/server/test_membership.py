"""What is recorded when keys are revoked, and when they may do nothing more."""

from __future__ import annotations

from typing import Any

import pytest
import ujson

from director.api.nodes import Nodes
from director.errors import StoreError
from director.protocol import keys
from director.server.membership import Membership
from director.server.revoked_keys import RevokedKeys
from director.server.roster import FACTS_LIMIT, NodeRecord, Roster

NEXT = keys.new_pair().public


class Scheduler:
    """Notes whose tasks have ended."""

    def __init__(self) -> None:
        self.abandoned: list[str] = []

    def abandon(self, record: NodeRecord, why: str) -> None:
        self.abandoned.append(record.name)


class Ledger:
    """A disk that takes what it is given only when it is asked to; `error` is why it takes nothing."""

    def __init__(self, scene: Scene, error: str | None) -> None:
        self.scene, self.error, self.writes = scene, error, []  # type: ignore[var-annotated]

    def write(self, *ops: Any, then: Any) -> None:
        self.writes.append((ops, then))

    def commit(self) -> None:
        self.state = all(key in self.scene.revoked for key in ("k0", "k1", NEXT)), self.scene.scheduler.abandoned[:]
        for _, then in self.writes:
            then(self.error)


class Scene:
    """Two nodes with large facts, the second of which replaces its key."""

    def __init__(self, error: str | None = None) -> None:
        self.roster, self.scheduler, self.revoked = Roster(), Scheduler(), RevokedKeys(())
        for number in range(2):
            self.roster.add(NodeRecord(f"n{number}", f"k{number}", facts="x" * FACTS_LIMIT, online=True, peer=b"p"))
        self.roster.expect(self.roster.nodes["n1"], NEXT)
        scheduler: Any = self.scheduler
        membership = Membership(self.roster, scheduler, lambda name, record: None, self.revoked)
        self.ledger = Ledger(self, error)
        none: Any = None
        self.nodes = Nodes(self.roster, membership, none, self.ledger, 0, none, none)  # type: ignore[arg-type]


def test_revoked_nodes_can_do_nothing_though_the_disk_takes_nothing_yet() -> None:
    scene = Scene()
    scene.nodes.revoke(["n0", "n1"], "by ann")
    assert scene.ledger.state == (True, ["n0", "n1"])
    assert {record.state for record in scene.roster.nodes.values()} == {"revoked"}
    assert not scene.roster.by_peer and NEXT not in scene.roster.by_key


def test_what_is_recorded_is_small_though_the_nodes_facts_are_large() -> None:
    """All of it is one write, and a write that is too large is refused."""
    scene = Scene()
    scene.nodes.revoke(["n0", "n1"], "by ann")
    ((operations, _),) = scene.ledger.writes
    assert [row["key"] for name, row in operations if name == "revoke_key"] == ["k0", "k1", NEXT]
    assert all(len(ujson.dumps(operation)) < 300 for operation in operations)


def test_a_revocation_that_is_not_on_disk_is_an_error() -> None:
    with pytest.raises(StoreError, match="no room"):
        Scene("no room").nodes.revoke(["n0", "n1"], "by ann")

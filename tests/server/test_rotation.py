"""The server's side of a rotation: what is on disk before what is said, and keys that cannot be a node's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import ujson

from director.errors import ProtocolError
from director.protocol import keys
from director.server.revoked_keys import RevokedKeys
from director.server.roster import ORDERED, NodeRecord, Roster
from director.server.rotation import Rotation

KEYS = [keys.new_pair().public for _ in range(4)]
OLD, NEW, OTHER, REVOKED = KEYS


class Ledger:
    """Notes what is written, and answers when it is told to."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.waiting: list[Callable[[str | None], None]] = []

    def commit(self, *ops: Any) -> None:
        self.rows += ops

    def write(self, *ops: Any, then: Any = None, lazy: bool = False) -> None:
        self.rows += ops
        self.waiting += [then] if then else []


class Scene:
    """A server with the nodes `web` and `db`, both connected."""

    def __init__(self) -> None:
        self.roster, self.ledger, self.sent = Roster(), Ledger(), []  # type: ignore[var-annotated]
        self.web, db = NodeRecord("web", OLD), NodeRecord("db", OTHER)
        self.roster.add(self.web)
        self.roster.add(db)
        self.revoked = RevokedKeys([{"key": REVOKED, "superseded": False}])
        self.rotation = Rotation(self.roster, self.revoked, self.ledger, self.send)  # type: ignore[arg-type]

    def send(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...] = ()) -> bool:
        self.sent.append((record.name, *ujson.loads(header)))
        return True


def test_each_step_is_on_disk_before_the_node_is_told() -> None:
    scene = Scene()
    assert scene.rotation.order(["web"]) == ["web"]
    assert scene.ledger.rows.pop()[1]["next_key"] == ORDERED
    assert scene.sent.pop() == ("web", "rotate", {})
    scene.rotation.take(scene.web, {"key": NEW}, b"")
    assert scene.ledger.rows.pop()[1]["next_key"] == NEW and not scene.sent
    scene.ledger.waiting.pop()(None)
    assert scene.sent.pop() == ("web", "key_noted", {"key": NEW})
    assert scene.roster.by_key[OLD] is scene.roster.by_key[NEW] is scene.web, "both are the node's"
    scene.rotation.order(["web"])
    assert scene.web.next_key == NEW, "a second order changes nothing"
    scene.ledger.rows.clear()
    scene.rotation.complete(scene.web, NEW)
    superseded, line, row, _ = scene.ledger.rows
    assert (line[1]["entry"]["event"], line[1]["entry"]["former_key"]) == ("key-replaced", OLD)
    assert superseded[1]["key"] == OLD and superseded[1]["superseded"]
    assert (row[1]["key"], row[1]["next_key"]) == (NEW, "")
    assert scene.web.key == NEW and OLD in scene.revoked and OLD not in scene.roster.by_key
    scene.sent.clear()
    scene.rotation.tell(scene.web)
    assert not scene.sent, "it is done"


@pytest.mark.parametrize("key", [OLD, OTHER, REVOKED, "short", ""], ids=["old", "other", "revoked", "short", "none"])
def test_a_key_of_another_node_or_one_that_is_forbidden_is_refused(key: str) -> None:
    scene = Scene()
    scene.rotation.order(["web"])
    with pytest.raises(ProtocolError):
        scene.rotation.take(scene.web, {"key": key}, b"")
    assert scene.web.next_key == ORDERED and not scene.ledger.waiting


def test_a_key_that_nobody_asked_for_is_refused() -> None:
    scene = Scene()
    with pytest.raises(ProtocolError):
        scene.rotation.take(scene.web, {"key": NEW}, b"")


def test_a_key_that_was_told_instead_of_another_takes_its_place() -> None:
    scene = Scene()
    scene.rotation.order(["web"])
    first = keys.new_pair().public
    scene.rotation.take(scene.web, {"key": first}, b"")
    scene.rotation.take(scene.web, {"key": NEW}, b"")
    for then in scene.ledger.waiting:
        then(None)
    assert [fields for _, kind, fields in scene.sent if kind == "key_noted"] == [{"key": NEW}]
    assert first not in scene.roster.by_key
    scene.roster.remove("web")
    assert {OLD, NEW}.isdisjoint(scene.roster.by_key)


def test_a_revoked_node_gets_no_order() -> None:
    scene = Scene()
    scene.web.revoked = True
    assert scene.rotation.order(["web"]) == [] and not scene.sent

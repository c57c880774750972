"""Replaces keys of nodes by order of an operator, so that a node has one of its keys at each moment.

The order is on disk, then the node tells its new public key inside its session, then that is on disk; from then on both
keys are the node's. The first hello with the new one makes it the node's only key. Until then everything can be
repeated: a node that does not know the order gets it at its next hello.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from director.errors import ProtocolError
from director.protocol import connections, keys, messages
from director.server import audit
from director.server.ledger_client import LedgerClient
from director.server.revoked_keys import RevokedKeys
from director.server.roster import ORDERED, NodeRecord, Roster, Send

log = logging.getLogger(__name__)


class Rotation:
    """Takes the orders, tells the nodes, takes their new keys."""

    def __init__(self, roster: Roster, revoked: RevokedKeys, ledger: LedgerClient, send: Send) -> None:
        self._roster, self._revoked, self._ledger, self._send = roster, revoked, ledger, send

    def order(self, names: Iterable[str]) -> list[str]:
        """Let nodes replace their keys; returns when the order is on disk. The names; those of revoked keys are not."""
        records = [record for name in names if not (record := self._roster.nodes[name]).revoked]
        for record in records:
            record.next_key = record.next_key or ORDERED
        self._ledger.commit(*(("node", record.row("next_key")) for record in records))
        for record in records:
            self.tell(record)
        return [record.name for record in records]

    def tell(self, record: NodeRecord) -> None:
        """Send the order, if there is one that the node has not carried out."""
        if record.next_key:
            self._send(record, messages.encode("rotate"), ())

    def take(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """A node tells its new key. Raises ProtocolError: nobody asked for one, or it cannot be this node's."""
        key, owner = fields["key"], self._roster.by_key.get(fields["key"])
        if not record.next_key:
            raise ProtocolError("a new key without an order")
        if not keys.is_key(key) or key in self._revoked or key == record.key or owner not in (None, record):
            raise ProtocolError("a new key that cannot be used")
        self._roster.expect(record, key)
        noted = messages.encode("key_noted", key=key)
        self._ledger.write(("node", record.row("next_key")), then=lambda error: self._answer(record, key, noted))

    def complete(self, record: NodeRecord, key: str) -> None:
        """The node has said hello with its new key: make it its only one.

        Returns when that is on disk; the node forgets its former key only after that.
        """
        superseded = self._revoked.add(record.key, record.name, "replaced by --rotate-key", superseded=True)
        replaced = audit.line("key-replaced", [record.name], key=key, former_key=record.key)
        self._ledger.commit(superseded, replaced, ("node", {"name": record.name, "key": key, "next_key": ""}))
        if record.next_key != key:  # another hello was first, or the key was revoked
            return
        connections.cut(record.connection)
        self._roster.promote(record)
        # whole rows that were written meanwhile have the former key
        self._ledger.write(("node", record.row("key", "next_key")), lazy=True)
        log.info("%s has replaced its key by %s…", record.name, record.key[:12])

    def _answer(self, record: NodeRecord, key: str, noted: bytes) -> None:
        if record.next_key == key:
            self._send(record, noted, ())

"""Who is a node: keys join, take over names and leave; each change is in memory first, then in the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from director.protocol import connections, keys
from director.server import audit
from director.server.revoked_keys import RevokedKeys
from director.server.roster import NodeRecord, Roster
from director.server.scheduler import Scheduler

log = logging.getLogger(__name__)


class Membership:
    """Changes the roster.

    Args:
        note: called with the name and record of each node that joined, and with None for one that left.
        revoked: keys that may not connect any more.
    """

    def __init__(
        self, roster: Roster, scheduler: Scheduler, note: Callable[[str, NodeRecord | None], None],
        revoked: RevokedKeys,
    ) -> None:  # fmt: skip
        self._roster, self._scheduler, self._note, self._revoked = roster, scheduler, note, revoked

    def join(
        self, name: str, key: str, why: str, token: str = "", labels: dict[str, str] | None = None, address: str = ""
    ) -> list[Any]:  # fmt: skip
        """Let a key have a name; the operations that record it.

        When the name had another key, labels and queued tasks stay with the name, what the former key was sent is lost,
        and the former key is of no use any more. When the key had another name, that node is gone.
        """
        operations: list[Any] = []
        record = NodeRecord(name, key)
        former = self._roster.nodes.get(name)
        if former is not None:
            self._scheduler.lose_all(former, f"{name} {why}")
            self._scheduler.expire_sealed(former)
            record.jobs, record.args = dict(former.jobs), dict(former.args)
            labels, token = former.labels, token or former.token
            operations.append(self._revoked.add(former.key, name, why, superseded=True))
            connections.cut(former.connection)
            record.reason = why
            log.warning("%s: a new key, %s…: %s", name, key[:12], why)
        else:
            log.info("%s is enrolled with the key %s…: %s", name, key[:12], why)
        record.labels, record.token = dict(labels or {}), token
        renamed = self._roster.by_key.get(key)
        if renamed is not None and renamed is not former:
            operations += self.forget([renamed.name], f"calls itself {name} now")
        self._roster.add(record)
        self._note(name, record)
        fields = {
            "key": key, "address": address, "reason": why, "token": record.token, "labels": record.labels,
            "former_key": former.key if former is not None else "",
        }  # fmt: skip
        operations.append(audit.line("enrolled", [name], **audit.shown(fields)))
        return [*operations, ("node", record.row())]

    def quarantine(self, record: NodeRecord, why: str) -> list[Any]:
        """Give the node no new steps until `release`; the operations that record it."""
        operations: list[Any] = []
        if not record.quarantine:
            log.error("%s gets no new steps: %s", record.name, why)
            operations.append(audit.line("quarantined", [record.name], reason=why))
        record.quarantine = why
        return [*operations, ("node", record.row("quarantine"))]

    def release(self, record: NodeRecord) -> tuple[str, dict[str, Any]]:
        """End the quarantine; the operation that records it."""
        record.quarantine = ""
        self._scheduler.online(record)
        return "node", record.row("quarantine")

    def forget(self, names: Iterable[str], why: str) -> list[Any]:
        """Remove nodes, and end the tasks that wait for them; the operations that record it."""
        operations = []
        for name in names:
            self._scheduler.abandon(self._roster.nodes[name], f"{name} {why}")
            self._roster.remove(name)
            self._note(name, None)
            operations.append(("forget_node", {"name": name}))
        return operations

    def revoke(self, names: Iterable[str], why: str) -> list[Any]:
        """Forbid the keys of nodes; their names stay taken. The operations that record it.

        They are refused from now on, also while the disk takes nothing: a node that fills the disk can be revoked.
        """
        operations = []
        for name in names:
            record = self._roster.nodes[name]
            operations.append(self._revoked.add(record.key, name, why))
            if keys.is_key(record.next_key):
                operations.append(self._revoked.add(record.next_key, name, why))
            self._roster.expect(record, "")
            record.revoked, record.online, record.reason, record.quarantine = True, False, f"revoked: {why}", ""
            operations.append(("node", record.row("revoked", "reason", "next_key", "quarantine")))
        return operations

    def cut_off(self, names: Iterable[str], why: str) -> None:
        """End the sessions, connections and open tasks of nodes that were revoked."""
        for name in names:
            record = self._roster.nodes[name]
            self._roster.detach(record)
            connections.cut(record.connection)
            self._scheduler.abandon(record, f"{name} was revoked: {why}")
            self._note(name, record)
            log.warning("%s is revoked: %s", name, why)

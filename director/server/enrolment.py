"""Lets keys have names, by the rules of `enrolment_rules`: takes the requests, and the orders of operators."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any

import gevent

from director import ids
from director.errors import NotFoundError
from director.runtime import descriptors
from director.runtime.greenlets import spawn
from director.runtime.logs import Seldom
from director.server.enrolment_rules import Act, Decision, Holder, Request, TokenRow, decide
from director.server.ledger_client import LedgerClient
from director.server.membership import Membership
from director.server.networks import Networks
from director.server.pending import PendingTable
from director.server.rates import Buckets
from director.server.revoked_keys import RevokedKeys
from director.server.roster import NodeRecord, Roster
from director.server.token_book import TokenBook

log = logging.getLogger(__name__)
seldom = Seldom(log)

BURST, RATE = 256, 20.0  # new names of one address without a token: at once, then each second
ADDRESSES = 100_000
ANSWER_SECONDS = 3.0  # that a silent holder of a name has to answer, or two heartbeats when they are shorter

Answer = Callable[[Decision], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Newcomer:
    """A connection that asks for a name; `address` is the peer's, without the port."""

    name: str
    key: str
    address: str
    token: str = ""
    proof: str = ""


class Enrolment:
    """Decides on requests for names.

    Args:
        mode: one of `enrolment_rules.MODES`.
        networks: from which mode `auto` enrols.
        identify: asks a connection for a hello; False when the connection is gone.
        interval: of heartbeats, in seconds.
        waits: gets the name that a new key waits for.
        refused: gets what is to be counted in the audit log: a kind, and the address or key that was refused.
    """

    def __init__(
        self, roster: Roster, membership: Membership, tokens: TokenBook, revoked: RevokedKeys, ledger: LedgerClient,
        mode: str, networks: Networks, identify: Callable[[bytes], bool], interval: float,
        refused: Callable[[str, str], None], waits: Callable[[str], None] = lambda name: None,
    ) -> None:  # fmt: skip
        self._waits = waits
        self.pending = PendingTable()
        self.tokens = tokens
        self._revoked, self._refused = revoked, refused
        self._roster, self._membership, self._ledger = roster, membership, ledger
        self._mode, self._networks, self._identify = mode, networks, identify
        self._patience = min(ANSWER_SECONDS, 2 * interval)
        self._silent = 3 * interval
        self._new_names = Buckets(BURST, RATE, ADDRESSES)
        self._asking: set[str] = set()  # keys on whose behalf a holder is being asked

    def is_revoked(self, key: str) -> bool:
        """Whether the key may do nothing; its connection may be a moment older than that."""
        return key in self._revoked

    def may_connect(self, key: str) -> bool:
        """Whether a client with this key may connect (ZAP). A key that is no node may only ask for a name."""
        if descriptors.are_scarce():
            seldom.warning("nodes are refused: %s", descriptors.shortage())
            return False
        if key in self._revoked:
            self._refused("revoked-key", key)
            return False
        return not self.is_barred(key, time.monotonic())

    def is_barred(self, key: str, now: float) -> bool:
        """Whether the node with this key was cut off a moment ago, as it sent too much."""
        record = self._roster.by_key.get(key)
        return record is not None and now < record.budget.barred_until

    def request(self, newcomer: Newcomer, answer: Answer) -> None:
        """A client with a proved key asks for a name; `answer` is called once the decision is on disk."""
        why = ids.name_fault(newcomer.name)
        token = self.tokens.proved(newcomer.token, newcomer.proof, newcomer.key, newcomer.name)
        if newcomer.token and token is None:
            why = why or f"the server has no token {newcomer.token}, or one with another secret"
        if why:
            self._refuse(newcomer, why, answer)
            return
        holder = self._roster.nodes.get(newcomer.name)
        decision = self._decide(newcomer, token, holder, None)
        if decision.act is Act.ASK_HOLDER and holder is not None:
            if newcomer.key in self._asking:
                return  # the question that is open will be answered
            self._asking.add(newcomer.key)
            spawn("take-over", self._ask_holder, newcomer, token, holder, answer, vital=False)
        else:
            self._carry_out(newcomer, token, decision, answer)

    def accept(self, name: str, key: str, user: str) -> None:
        """Give a waiting key its name, or end the quarantine of a node with this key, by order of a user.

        Raises:
            NotFoundError: it does not wait for the name.
        """
        record = self._roster.nodes.get(name)
        if record is not None and record.quarantine and record.key == key:
            self._ledger.commit(self._membership.release(record))
            return
        self._require_waiting(name, key)
        operations = self._membership.join(name, key, f"accepted by {user}")
        self.pending.drop(name, key)
        self._ledger.commit(*operations)

    def quarantine(self, record: NodeRecord, why: str) -> None:
        """Give the node no new steps until somebody accepts it."""
        self._ledger.write(*self._membership.quarantine(record, why))

    def quarantined(self) -> list[NodeRecord]:
        """The nodes that get no new steps until somebody accepts them."""
        return [record for record in self._roster.nodes.values() if record.quarantine]

    def reject(self, name: str, key: str) -> None:
        """Forget a waiting key. Raises NotFoundError: it does not wait for the name."""
        self._require_waiting(name, key)
        self.pending.drop(name, key)

    def enrolled_with(self, token: str) -> list[str]:
        """The nodes that were enrolled with this token."""
        return [record.name for record in self._roster.nodes.values() if record.token == token]

    def renew(self, name: str, until: float) -> tuple[str, dict[str, Any]]:
        """Let the next new key with any token have the name, until this epoch time; the operation that records it."""
        record = self._roster.nodes[name]
        record.renew_until = until
        return "node", record.row("renew_until")

    def _require_waiting(self, name: str, key: str) -> None:
        if self.is_revoked(key) or all(row.key != key for row in self.pending.named(name)):
            raise NotFoundError(f"the key {key} does not wait for the name {name} any more")

    # -- decisions ----------------------------------------------------------------------------------------

    def _decide(
        self, newcomer: Newcomer, token: TokenRow | None, record: NodeRecord | None, is_gone: bool | None
    ) -> Decision:
        fits = token is None or self.tokens.fits(token, newcomer.name)
        request = Request(newcomer.name, newcomer.key, token, fits, self._why_bound(newcomer))
        if record is None:
            return decide(request, None, self._mode, time.time(), self._why_not(newcomer) if token is None else "")
        if record.peer is not None:
            is_gone = self._is_cut(record)
        holder = Holder(record.key, record.token, record.renew_until, is_gone, record.revoked)
        return decide(request, holder, self._mode, time.time())

    def _why_bound(self, newcomer: Newcomer) -> str:
        """Why the key cannot leave the name that it has, "" when it can: a copy of it must not undo a quarantine."""
        record = self._roster.by_key.get(newcomer.key)
        if record is None or record.name == newcomer.name:
            return ""
        if record.quarantine or (record.peer is not None and not self._is_cut(record)):
            return (f"its key belongs to the node {record.name}, which is online or in quarantine; if this client's "
                    "state folder was copied from there, remove it")  # fmt: skip
        return ""

    def _why_not(self, newcomer: Newcomer) -> str:
        """Why mode `auto` does not let this key have a new name, "" when it does."""
        if not self._networks.contain(newcomer.address):
            return f"{newcomer.address} is not in the networks of --enroll-from"
        now = time.monotonic()
        if self.pending.is_marked(newcomer.name, newcomer.key, now):
            return "this key waited for the name when it was purged"
        if not self._new_names.take(newcomer.address, now):
            return f"{newcomer.address} has asked for more than {BURST} new names, {RATE:g} a second"
        return ""

    def _is_cut(self, record: NodeRecord) -> bool:
        """Whether the connection of a session is closed, or has been silent for three heartbeats."""
        silence = time.monotonic() - (record.heard or 0.0)
        return silence > self._silent or not (record.peer is not None and self._identify(record.peer))

    def _ask_holder(self, newcomer: Newcomer, token: TokenRow | None, holder: NodeRecord, answer: Answer) -> None:
        """The holder has no session: ask on its last connection, then decide again, in the same turn as the change."""
        try:
            asked = time.monotonic()
            if holder.last_peer is not None and self._identify(holder.last_peer):
                while holder.peer is None and time.monotonic() - asked < self._patience:
                    gevent.sleep(0.05)
        finally:
            self._asking.discard(newcomer.key)
        record = self._roster.nodes.get(newcomer.name)
        token = self.tokens.get(token.id) if token else None  # it may have been revoked meanwhile
        self._carry_out(newcomer, token, self._decide(newcomer, token, record, record is holder), answer)

    def _carry_out(self, newcomer: Newcomer, token: TokenRow | None, decision: Decision, answer: Answer) -> None:
        if self.is_revoked(newcomer.key):  # since it asked
            return
        if decision.act is Act.KEEP:
            answer(decision)
        elif decision.act in (Act.ENROL, Act.TAKE_OVER):
            self._let_in(newcomer, token, decision, answer)
        elif decision.act is Act.REFUSE:
            self._refuse(newcomer, decision.reason, answer)
        else:
            now = time.monotonic()
            if self.pending.add(newcomer.name, newcomer.key, newcomer.address, decision.reason, now, time.time()):
                seldom.warning("%s (%s, key %s…) waits: %s",
                               newcomer.name, newcomer.address, newcomer.key[:12], decision.reason)  # fmt: skip
                self._refused("enrolment-waits", newcomer.address)
                self._waits(newcomer.name)
            answer(decision)

    def _let_in(self, newcomer: Newcomer, token: TokenRow | None, decision: Decision, answer: Answer) -> None:
        labels = dict(token.labels) if token else {}
        id = token.id if token else ""
        operations = self._membership.join(newcomer.name, newcomer.key, decision.reason, id, labels, newcomer.address)
        if decision.uses_place:
            operations.append(self.tokens.use(id))
        self.pending.drop(newcomer.name, newcomer.key)
        self._ledger.write(*operations, then=lambda error: answer(decision))

    def _refuse(self, newcomer: Newcomer, reason: str, answer: Answer) -> None:
        seldom.warning("%s (%s) is refused: %s", newcomer.name, newcomer.address, reason)
        self._refused("enrolment-refused", newcomer.address)
        answer(Decision(Act.REFUSE, reason))

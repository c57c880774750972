"""The sessions of nodes: reads the ROUTER, hands each message to its handler, notices silence."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from director.errors import ProtocolError
from director.protocol import messages
from director.protocol.connections import Frame, connection_of, cut
from director.protocol.transport import Router
from director.runtime.greenlets import periodic, spawn
from director.runtime.liveness import MISSED
from director.runtime.logs import Seldom, stamp
from director.server import budgets
from director.server.admission import Admission, key_of, spread
from director.server.ledger_client import LedgerClient
from director.server.node_profiles import NodeProfiles
from director.server.node_sender import NodeSender
from director.server.roster import Handler, NodeRecord, Roster
from director.server.scheduler import Scheduler
from director.server.stranger_limits import StrangerLimits

log = logging.getLogger(__name__)
seldom, seldom_cut, faults = Seldom(log), Seldom(log), Seldom(log)

AWAY_LIMIT = 24 * 3600.0  # seconds that a restart of a node's host may take
SEEN_EVERY = 60.0  # seconds between two writes of when nodes were last heard; six heartbeats when they are shorter
PATIENCE = 2.0  # seconds that reading may stop while too much waits for the disk


class Sessions:
    """Handles `heartbeat`, `results`, `profile` and `goodbye` itself.

    Args:
        interval: of heartbeats, in seconds.
        note: gets each node that changed.
        strangers: limits of peers that are no nodes.
        handlers: of the other kinds that clients send, except `hello` and `enroll`, which `admission` takes.

    Raises:
        KeyError: a kind has no handler.
    """

    def __init__(
        self, router: Router, sender: NodeSender, roster: Roster, scheduler: Scheduler, admission: Admission,
        ledger: LedgerClient, interval: float, note: Callable[[str, NodeRecord | None], None],
        handlers: Mapping[str, Handler], strangers: StrangerLimits,
    ) -> None:  # fmt: skip
        self._strangers = strangers
        self._router, self._sender, self._roster, self._scheduler = router, sender, roster, scheduler
        self._admission, self._ledger, self._interval, self._note = admission, ledger, interval, note
        table = {
            **handlers, "heartbeat": self._take_heartbeat, "results": self._take_results,
            "profile": self._take_profile, "goodbye": self._take_goodbye,
        }  # fmt: skip
        of_clients = {kind for kind, spec in messages.KINDS.items() if spec.sender != "server"}
        kinds = of_clients - {"hello", "enroll"}
        self._handlers: dict[str, Handler] = {kind: table[kind] for kind in kinds}
        self._profiles = NodeProfiles(ledger, note)
        self._cost = 0.0  # units of the message that is being handled
        self._heartbeat_ack = messages.encode("heartbeat_ack")
        self._full = False  # too much has waited for the disk for long: results are ignored
        spawn("sessions", self._read, vital=True)
        periodic("liveness", min(1.0, interval / 4), self.tick)
        periodic("last seen", min(SEEN_EVERY, 6 * interval), self.store_seen)

    def stop(self) -> None:
        """Store when each node was last heard, for the next server."""
        self.store_seen()

    def store_seen(self) -> None:
        """Store when each online node was last heard; for the others this was stored when they went offline."""
        now, monotonic = time.time(), time.monotonic()
        seen = {record.name: record.seen(now, monotonic) for record in self._roster.nodes.values() if record.online}
        if seen:
            self._ledger.write(("node_seen", {"seen": seen}), lazy=True)

    # -- reading ------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while True:
            peer, frame, parts = self._router.receive()
            self._wait_for_disk()
            try:
                self._take(peer, frame, parts)
            except ProtocolError as error:
                record = self._roster.by_peer.get(peer)
                seldom.warning("dropped a message of %s: %s", record.name if record else "an unknown client", error)
            except Exception:
                faults.exception("a message could not be handled")

    def _wait_for_disk(self) -> None:
        """Read no faster than the disk writes, when what waits is of many nodes: one alone has a share of the queue.

        When the disk takes nothing for long, reading goes on, or every node would seem silent. Results are ignored
        then: clients keep them, and send them again after the next hello.
        """
        full = not self._ledger.wait_for_room(0.0 if self._full else min(PATIENCE, self._interval))
        if full and not self._full:
            log.error("the disk does not take what comes in; results stay with the clients until it does")
        self._full = full

    def _take(self, peer: bytes, frame: Frame, parts: list[bytes]) -> None:
        head = parts[0]
        kind = messages.kind_of(head)
        record = self._roster.by_peer.get(peer)
        if record is None or kind in ("hello", "enroll", ""):
            self._take_first(peer, frame, kind, parts)
            return
        now = time.monotonic()
        cost = self._cost = budgets.cost(kind, len(head), len(parts[1]) if len(parts) > 1 else 0)
        if not record.budget.take(cost, now):
            self._cut_off(record, frame, now)
            return
        kind, fields, payload = messages.decode(parts, "client")
        record.heard = now
        self._handlers[kind](record, fields, payload[0] if payload else b"")

    def _take_first(self, peer: bytes, frame: Frame, kind: str, parts: list[bytes]) -> None:
        """A message that needs no session, or one of a connection that has none."""
        key = key_of(frame)
        record = self._roster.by_key.get(key)
        if record is not None:
            self._strangers.is_node(record, key, frame)
            now = time.monotonic()
            if now < record.budget.barred_until:
                return  # it was read before the connection ended
            if not record.budget.take(budgets.cost(kind, sum(map(len, parts)), 0), now):
                self._cut_off(record, frame, now)
                return
        if kind == "hello" and record is not None:
            self._admission.hello(peer, frame, messages.decode(parts, "client")[1])
        elif kind == "enroll":
            fields = messages.decode(parts, "client")[1]
            if self._strangers.may_ask(key, bool(fields["token"])):
                self._admission.enroll(peer, frame, fields)
            else:
                self._admission.ask_later(peer)
        elif peer in self._roster.by_peer and parts[0]:
            messages.decode(parts, "client")  # raises: it is of no kind
        else:  # undecoded: after a restart of the server most messages are such
            self._admission.identify(peer, frame)

    def _cut_off(self, record: NodeRecord, frame: Frame, now: float) -> None:
        """The node sends more than any client does: end its connection, and let it come back after a pause."""
        record.budget.barred_until = now + budgets.PAUSE
        record.cut_off = f"cut off for {budgets.PAUSE:g} s at {stamp(time.time())}: it {budgets.WHY}"
        seldom_cut.warning("%s (%s) is %s", record.name, frame.get("Peer-Address"), record.cut_off)
        cut(connection_of(frame))
        if record.peer is not None:
            cut(record.connection)
            self._end(record)

    # -- kinds of messages --------------------------------------------------------------------------------

    def _take_heartbeat(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        record.journal_position = max(record.journal_position, fields["journal_position"])
        record.lag = messages.number(fields.get("lag"))
        record.trouble = str(fields.get("trouble") or "")[:500]
        record.back_by = time.monotonic() + min(AWAY_LIMIT, messages.number(fields.get("away")))
        self._sender.send(record, self._heartbeat_ack)

    def _take_results(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        """Results are acknowledged once they are on disk.

        An acknowledgement covers all messages before it, so after one ignored message all later ones are ignored.
        """
        number, peer, size, budget = fields["number"], record.peer, len(payload), record.budget
        if self._full or record.withheld or not budget.wait_for_disk(size):
            record.withheld = True
            return

        def stored(close: list[str]) -> None:
            budget.stored(size)
            self._sender.stored(record, peer, number, close, size)

        record.journal_position = max(record.journal_position, fields["journal_position"])
        try:
            wanted = self._scheduler.take_results(record, fields["jobs"], payload, stored)
        except ProtocolError:
            budget.stored(size)
            raise
        if wanted:
            budget.give_back(self._cost)

    def _take_profile(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        self._profiles.take(record, fields, time.monotonic())

    def _take_goodbye(self, record: NodeRecord, fields: dict[str, Any], payload: bytes) -> None:
        log.info("%s ends its session: %s", record.name, fields["reason"][:200])
        self._end(record)

    # -- silence ------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """End the sessions that missed three heartbeats, and the tasks that waited too long."""
        now = time.monotonic()
        limit = MISSED * self._interval
        for record in list(self._roster.nodes.values()):
            if record.online and now - (record.heard or 0.0) > limit:
                log.warning("%s is offline: silent for %.1f s", record.name, now - (record.heard or 0.0))
                self._end(record)
            if record.unsaved:
                self._profiles.save(record, now)
        if self._full and self._ledger.wait_for_room(0.0):
            self._full = False
            log.warning("the disk takes results again")
        if not self._full:
            self._take_results_again()
        self._scheduler.tick(now)

    def _take_results_again(self) -> None:
        """Ask the nodes whose results were ignored for a hello; after it they send these results again."""
        nodes = self._roster.nodes.values()
        withheld = [record for record in nodes if record.withheld and record.budget.has_room]
        for record in withheld:
            record.withheld = False
            if record.online and record.peer is not None:
                self._sender.identify(record.peer, spread(len(withheld)))
                self._roster.detach(record)  # until its hello its messages are ignored

    def _end(self, record: NodeRecord) -> None:
        """The node is offline."""
        last = record.peer
        self._roster.detach(record)
        record.last_peer = last
        record.online = False
        record.offline_since = record.heard or time.monotonic()
        record.last_seen = time.time() - (time.monotonic() - record.offline_since)
        fields = {"name": record.name, "last_seen": record.last_seen, "journal_position": record.journal_position}
        self._ledger.write(("node", fields))
        self._note(record.name, record)

"""The live connections of nodes: who speaks, what they may say, when they fall silent."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import ujson

from director import __version__
from director.errors import ProtocolError
from director.protocol import messages
from director.protocol.transport import SENT, Frame, Router
from director.runtime.greenlets import periodic, spawn
from director.runtime.liveness import MISSED
from director.server.acknowledgements import Acknowledgements
from director.server.conflicts import Conflicts
from director.server.dry_run import DryRun
from director.server.enrolment import Enrolment
from director.server.file_server import FileServer
from director.server.ledger_client import LedgerClient
from director.server.node_transfer import NodeTransfer
from director.server.roster import NodeRecord, Roster
from director.server.scheduler import Scheduler

log = logging.getLogger(__name__)

HELLOS_PER_SECOND = 4000.0
HELLO = b'"hello"'
ASKED = 20_000  # connections that are remembered; those that had time to answer are forgotten first
ASK_AGAIN = 2.0  # seconds beyond the time for its answer after which one is asked again
FACTS_LIMIT = 256 * 1024
AWAY_LIMIT = 24 * 3600.0  # seconds that a node may be away for a restart of its host
SEEN_EVERY = 60.0  # seconds between two batches of when nodes were last heard; six beats when those are quick
PATIENCE = 2.0  # seconds that reading may stop while too much waits for the disk


class Sessions:
    """Reads the ROUTER, one `handle_<kind>` for each message a client may send."""

    def __init__(
        self, router: Router, roster: Roster, desk: Scheduler, enrolment: Enrolment, transfer: FileServer,
        exchange: NodeTransfer, dry_run: DryRun, ledger: LedgerClient, interval: float,
        note: Callable[[str, NodeRecord | None], None],
    ) -> None:  # fmt: skip
        self._router, self._roster, self._desk, self._ledger = router, roster, desk, ledger
        self._enrolment, self._transfer, self._exchange, self._dry_run = enrolment, transfer, exchange, dry_run
        self._interval = interval
        self._note = note
        self._probes = 0.0  # recent arrivals, for the pace that newcomers are given
        self._probed = time.monotonic()
        self._asked: dict[bytes, float] = {}  # connections that were asked who they are, and until when that is enough
        self._strange = 0
        self._crowded = False  # too much waits for the disk, and has for long
        self._complained = 0.0
        self._pulse = messages.encode("heartbeat_ack")
        self._acks = Acknowledgements(self.send)
        self._rivals = Conflicts(self._ask_holder, interval)
        desk.send = self.send
        exchange.connect(self.send)
        enrolment.probe = self.probe
        spawn("sessions", self._read, vital=True)
        periodic("liveness", min(1.0, interval / 4), self.tick)
        periodic("last seen", min(SEEN_EVERY, 6 * interval), self.store_seen)

    def stop(self) -> None:
        """The server ends: a new one shall know when each node was last heard."""
        self.store_seen()

    def store_seen(self) -> None:
        """Store when each node that is online was last heard; of the others it was stored when they went."""
        now, monotonic = time.time(), time.monotonic()
        seen = {record.name: record.seen(now, monotonic) for record in self._roster.nodes.values() if record.online}
        if seen:
            self._ledger.write(("node_seen", {"seen": seen}), lazy=True)

    # -- sending ------------------------------------------------------------------------------------------

    def send(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...]) -> bool:
        """Queue a message for a node; False when it was surely not delivered, and the node must say hello again."""
        if record.peer is None:
            return False
        self._acks.flush(record)
        if self._router.send(record.peer, header, *frames) == SENT:
            return True
        self._roster.detach(record)
        return False

    def probe(self, record: NodeRecord) -> bool:
        """Ask a node to show that it lives; False when its connection is gone."""
        return self.send(record, messages.encode("identify", v=messages.VERSION, within=0), ())

    # -- reading ------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while True:
            peer, frame, parts = self._router.receive()
            self._keep_pace()
            try:
                self._take(peer, frame, parts)
            except ProtocolError as error:
                self._complain(peer, str(error))
            except Exception:
                log.exception("a message could not be handled")

    def _keep_pace(self) -> None:
        """Read no faster than the disk writes.

        When it takes nothing for long we go on reading, or every node would seem silent; but results are not
        taken in then: clients keep them, and send them again when they are asked who they are.
        """
        crowded = not self._ledger.wait_for_room(0.0 if self._crowded else min(PATIENCE, self._interval))
        if crowded and not self._crowded:
            log.error("the disk does not take what comes in; results stay with the clients until it does")
        self._crowded = crowded

    def _take(self, peer: bytes, frame: Frame, parts: list[bytes]) -> None:
        if not parts[0]:
            self._ask_who(peer)
            return
        record = self._roster.by_peer.get(peer)
        if record is None and HELLO not in parts[0][:12]:
            self._ask_who(peer)  # and it is not even read: after a restart there is much of that
            return
        kind, fields, payload = messages.decode(parts, "client")
        if kind == "hello":
            self._hello(peer, frame, fields)
            return
        if record is None:
            raise ProtocolError(f"a message of kind {kind!r} that says it is a hello")
        record.heard = time.monotonic()
        exchanged = self._exchange.kinds.get(kind)
        if exchanged is not None:
            exchanged(record, fields, payload[0] if payload else b"")
        else:
            getattr(self, f"handle_{kind}")(record, fields, payload)

    def _ask_who(self, peer: bytes) -> None:
        """The server names the pace: with many at the door each is given a longer time to spread over."""
        now = time.monotonic()
        if now < self._asked.get(peer, 0.0):
            return  # its answer is on the way; what it says before that would only be counted for another one
        if len(self._asked) > ASKED:
            self._asked = {known: until for known, until in self._asked.items() if until > now}
        self._probes = max(0.0, self._probes - (now - self._probed) * HELLOS_PER_SECOND) + 1
        self._probed = now
        within = min(10.0, self._probes / HELLOS_PER_SECOND) if self._probes > 50 else 0.0
        self._asked[peer] = now + within + ASK_AGAIN
        self._router.send(peer, messages.encode("identify", v=messages.VERSION, within=round(within, 3)))

    def _complain(self, peer: bytes, text: str) -> None:
        self._strange += 1
        now = time.monotonic()
        if now - self._complained > 10:
            self._complained = now
            record = self._roster.by_peer.get(peer)
            log.warning(
                "dropped a message of %s: %s (%d so far)",
                record.name if record else "a stranger",
                text,
                self._strange,
            )

    # -- hello --------------------------------------------------------------------------------------------

    def _hello(self, peer: bytes, frame: Frame, fields: dict[str, Any]) -> None:
        key = str(frame.get("User-Id"))
        if fields["v"] != messages.VERSION:
            self._refuse(peer, f"the server speaks protocol {messages.VERSION}, this client {fields['v']}; "
                         f"install version {__version__} on it", 60)  # fmt: skip
            return
        record = self._roster.by_key.get(key) or self._enrolment.confirm(key)
        if record is None or record.name != fields["name"]:
            self._refuse(peer, "this key is not enrolled under this name", 5)
            return
        holder = record.peer
        self._rivals.answered(peer)
        if holder is None or holder == peer or fields.get("life", "") == record.life:
            self._admit(record, peer, frame, fields)
        else:
            spawn("rival", self._judge, record, holder, peer, frame, fields, vital=False)

    def _judge(self, record: NodeRecord, holder: bytes, peer: bytes, frame: Frame, fields: dict[str, Any]) -> None:
        """Another process with the node's key: the same client started again, or a copy of its state folder."""
        if self._rivals.lives(holder) and record.peer == holder:
            record.reason = f"a second client with this node's key was refused ({frame.get('Peer-Address')})"
            log.warning("%s: %s", record.name, record.reason)
            self._refuse(peer, "another client with the same key is online: its state folder was copied; "
                         "stop one of them, or remove this one's and give it another --identity", 30)  # fmt: skip
        elif self._roster.nodes.get(record.name) is record:
            self._admit(record, peer, frame, fields)

    def _ask_holder(self, holder: bytes) -> bool:
        return self._router.send(holder, messages.encode("identify", v=messages.VERSION, within=0)) == SENT

    def _admit(self, record: NodeRecord, peer: bytes, frame: Frame, fields: dict[str, Any]) -> None:
        """Settle with a node on its new connection."""
        self._asked.pop(peer, None)
        held = _held(fields["held"])
        lost = _lost(record, fields)
        known = record.peer is not None
        self._roster.attach(record, peer)
        self._update(record, frame, fields)
        orders = self._desk.settle(record, held, lost)
        welcome = messages.encode(
            "welcome",
            v=messages.VERSION,
            beat=self._interval,
            now=time.time(),
            jobs=orders,
            server=__version__,
            **_inheritance(record),
        )
        if not self.send(record, welcome, ()):
            return
        if not record.online:
            log.info("%s is online%s", record.name, " again" if known else "")
        record.online = True
        record.reason = record.reason if record.reason.startswith("took over") else ""
        self._note(record.name, record)
        self._desk.online(record)

    def _refuse(self, peer: bytes, reason: str, retry: float) -> None:
        self._router.send(peer, messages.encode("refused", reason=reason, retry=retry))

    def _update(self, record: NodeRecord, frame: Frame, fields: dict[str, Any]) -> None:
        now = time.time()
        record.heard, record.last_seen = time.monotonic(), now
        record.address = str(frame.get("Peer-Address"))
        record.version, record.life = sys.intern(fields["version"][:100]), str(fields.get("life", ""))[:100]
        record.instance, record.mark = fields["instance"][:100], fields["mark"]
        record.agent_start = now - _number(fields.get("agent_uptime"))
        record.host_start = now - _number(fields.get("host_uptime"))
        self._profile(record, fields.get("profile") or {})
        self._store(record)

    def _profile(self, record: NodeRecord, profile: dict[str, Any]) -> None:
        facts = ujson.dumps(profile.get("facts") or {})
        record.facts = facts if len(facts) <= FACTS_LIMIT else "{}"
        record.labels = _texts(profile.get("labels")) if record.inherited is None else dict(record.inherited)
        record.args = _texts(profile.get("args"))

    def _store(self, record: NodeRecord) -> None:
        fields = {
            "name": record.name, "key": record.key, "address": record.address, "version": record.version,
            "labels": record.labels, "facts": record.facts, "args": record.args, "last_seen": record.last_seen,
            "reason": record.reason, "mark": record.mark, "instance": record.instance,
        }  # fmt: skip
        self._ledger.write(("node", fields), lazy=True)

    # -- the other kinds ----------------------------------------------------------------------------------

    def handle_heartbeat(self, record: NodeRecord, fields: dict[str, Any], payload: list[bytes]) -> None:
        """A sign of life, answered by one."""
        self._mark(record, fields)
        record.lag = _number(fields.get("lag"))
        record.trouble = str(fields.get("trouble") or "")[:500]
        record.back_by = time.monotonic() + min(AWAY_LIMIT, _number(fields.get("away")))
        self.send(record, self._pulse, ())

    def handle_results(self, record: NodeRecord, fields: dict[str, Any], payload: list[bytes]) -> None:
        """Results are acknowledged when they are on disk, never before."""
        if self._crowded or record.deaf:  # one that was left out makes all that follow wait: acks are cumulative
            record.deaf = True
            return
        number, peer, size = fields["n"], record.peer, sum(map(len, payload))

        def stored(close: list[str]) -> None:
            self._acks.stored(record, peer, number, close, size)

        self._mark(record, fields)
        self._desk.take_results(record, fields["jobs"], payload[0] if payload else b"", stored)

    def handle_profile(self, record: NodeRecord, fields: dict[str, Any], payload: list[bytes]) -> None:
        """Facts, labels or remembered ARGs have changed."""
        record.inherited = None
        self._profile(record, fields)
        self._store(record)
        self._note(record.name, record)

    def handle_run_once_wait(self, record: NodeRecord, fields: dict[str, Any], payload: list[bytes]) -> None:
        """The node has come to a step behind a run-once step of another one."""
        self._desk.onces.ask(record, fields["job"], fields["step"])

    def handle_blob_get(self, record: NodeRecord, fields: dict[str, Any], payload: list[bytes]) -> None:
        """A piece of a file that one of the node's jobs needs."""
        self._transfer.get(record, fields, self.send)

    def handle_dry_run_result(self, record: NodeRecord, fields: dict[str, Any], payload: list[bytes]) -> None:
        """What a plan would do on the node."""
        self._dry_run.take(record, fields, payload)

    def handle_goodbye(self, record: NodeRecord, fields: dict[str, Any], payload: list[bytes]) -> None:
        """The client ends on purpose."""
        log.info("%s says goodbye: %s", record.name, fields["reason"][:200])
        self._roster.detach(record)
        self._gone(record)

    def _mark(self, record: NodeRecord, fields: dict[str, Any]) -> None:
        record.mark = max(record.mark, fields["mark"])

    # -- silence ------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Nodes that missed three beats are offline; the desk ends what has waited too long."""
        now = time.monotonic()
        limit = MISSED * self._interval
        for record in list(self._roster.nodes.values()):
            if record.online and now - (record.heard or 0.0) > limit:
                log.warning("%s is offline: silent for %.1f s", record.name, now - (record.heard or 0.0))
                self._roster.detach(record)
                self._gone(record)
        if self._crowded and self._ledger.wait_for_room(0.0):
            self._crowded = False
            log.warning("the disk takes results again")
        if not self._crowded:
            self._listen_again()
        self._desk.tick(now)

    def _listen_again(self) -> None:
        """Ask the nodes whose results were left out who they are: they settle, and send them again."""
        deaf = [record for record in self._roster.nodes.values() if record.deaf]
        for record in deaf:
            record.deaf = False
            if record.online:
                spread = round(min(10.0, len(deaf) / HELLOS_PER_SECOND), 3)
                self.send(record, messages.encode("identify", v=messages.VERSION, within=spread), ())
                self._roster.detach(record)  # until then nothing it sends is taken

    def _gone(self, record: NodeRecord) -> None:
        record.online = False
        record.offline_since = record.heard or time.monotonic()
        record.last_seen = time.time() - (time.monotonic() - record.offline_since)
        self._ledger.write(("node", {"name": record.name, "last_seen": record.last_seen, "mark": record.mark}))
        self._note(record.name, record)


def _held(rows: list[Any]) -> dict[str, int]:
    try:
        held = {job: upto for job, upto in rows}
    except (TypeError, ValueError) as error:
        raise ProtocolError("a hello whose jobs have a strange shape") from error
    if not all(isinstance(job, str) and isinstance(upto, int) and upto >= 0 for job, upto in held.items()):
        raise ProtocolError("a hello whose jobs have a strange shape")
    return held


def _lost(record: NodeRecord, fields: dict[str, Any]) -> str:
    """Why a node cannot know what it was given before: its state folder is another or an older one."""
    if record.instance and record.instance != fields["instance"]:
        return "the node came back with another state folder"
    if record.instance and fields["mark"] < record.mark:
        return "the node came back with an older state folder"
    return ""


def _number(value: Any) -> float:
    return float(value) if isinstance(value, messages.NUMBER) and abs(value) < 1e11 else 0.0


def _inheritance(record: NodeRecord) -> dict[str, Any]:
    """What the welcome tells a key that has taken its name from another one: that it has, and the labels it gets."""
    return {} if record.inherited is None else {"inherit": {"why": record.reason, "labels": record.inherited}}


def _texts(value: Any) -> dict[str, str]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {str(k)[:253]: str(v)[:65536] for k, v in list(pairs)[:1000]}

"""Makes connections sessions: asks each for a hello, checks it, and reconciles with the node."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from director import __version__
from director.errors import ProtocolError
from director.protocol import keys, messages
from director.protocol.connections import Frame, connection_of, cut
from director.runtime.greenlets import spawn
from director.runtime.logs import Seldom
from director.server.conflicts import Conflicts
from director.server.enrolment import Enrolment, Newcomer
from director.server.enrolment_rules import Act, Decision
from director.server.ledger_client import LedgerClient
from director.server.node_sender import NodeSender
from director.server.roster import NodeRecord, Roster
from director.server.rotation import Rotation
from director.server.scheduler import Scheduler

log = logging.getLogger(__name__)
seldom = Seldom(log)

HELLOS_PER_SECOND = 4000.0
ASKED_LIMIT = 20_000  # connections that are remembered; those whose time to answer is over are forgotten first
ASK_AGAIN = 2.0  # seconds after the time to answer until a connection is asked again
ASK_TO_ENROL = 15.0  # seconds until a client whose request waits asks again
REFUSED_AGAIN = 60.0


class Admission:
    """Sends `identify`, takes `hello` and `enroll`.

    Args:
        interval: of heartbeats, in seconds.
        note: gets each node that became online.
    """

    def __init__(
        self, sender: NodeSender, roster: Roster, scheduler: Scheduler, enrolment: Enrolment, ledger: LedgerClient,
        rotation: Rotation, interval: float, note: Callable[[str, NodeRecord | None], None],
    ) -> None:  # fmt: skip
        self._sender, self._roster, self._scheduler = sender, roster, scheduler
        self._enrolment, self._ledger, self._interval, self._note = enrolment, ledger, interval, note
        self._rotation = rotation
        self._resolving: set[bytes] = set()  # connections whose hello is being looked at
        self._conflicts = Conflicts(sender.ask, interval)
        self._asked: dict[bytes, float] = {}  # connection to the monotonic time when it may be asked again
        self._recent = 0.0  # questions of late; falls by HELLOS_PER_SECOND each second
        self._counted = time.monotonic()

    def identify(self, peer: bytes, frame: Frame) -> None:
        """Ask a connection for a hello, once; the more were asked of late, the longer it may take to answer.

        A connection whose key is no node is asked to enrol instead.
        """
        if self._is_revoked(frame):
            return
        now = time.monotonic()
        if now < self._asked.get(peer, 0.0):
            return
        if len(self._asked) > ASKED_LIMIT:
            self._asked = {known: until for known, until in self._asked.items() if until > now}
        self._recent = max(0.0, self._recent - (now - self._counted) * HELLOS_PER_SECOND) + 1
        self._counted = now
        within = spread(self._recent) if self._recent > 50 else 0.0
        self._asked[peer] = now + within + ASK_AGAIN
        self._sender.identify(peer, within, key_of(frame) in self._roster.by_key)

    def enroll(self, peer: bytes, frame: Frame, fields: dict[str, Any]) -> None:
        """A client asks for a name; it says hello, or asks again later, when it has the answer."""
        if self._is_revoked(frame) or self._is_other_version(peer, fields):
            return
        newcomer = Newcomer(
            fields["name"], key_of(frame), str(frame.get("Peer-Address")), fields["token"], fields["proof"]
        )
        self._enrolment.request(newcomer, partial(self._answer, peer))

    def ask_later(self, peer: bytes) -> None:
        """A key asks for names more often than it may."""
        self._refuse(peer, "this key, or all clients together, ask for names too often", ASK_TO_ENROL)

    def _answer(self, peer: bytes, decision: Decision) -> None:
        if decision.act is Act.WAIT:
            self._refuse(peer, decision.reason, ASK_TO_ENROL)
        elif decision.act is Act.REFUSE:
            self._refuse(peer, decision.reason, REFUSED_AGAIN)
        else:
            self._sender.identify(peer)

    def hello(self, peer: bytes, frame: Frame, fields: dict[str, Any]) -> None:
        """Admit the client of a connection, or refuse it.

        Args:
            frame: of the message; its metadata has the CURVE key and the address.

        Raises:
            ProtocolError: its list of jobs is malformed.
        """
        if self._is_revoked(frame) or self._is_other_version(peer, fields):
            return
        record = self._roster.by_key.get(key_of(frame))
        if record is None or record.name != fields["name"]:
            self._sender.identify(peer, known=False)
            return
        self._conflicts.answered(peer, fields.get("asked"))
        older = None if fields.get("process_token", "") == record.process_token else record.peer
        if older in (None, peer) and key_of(frame) == record.key:
            self._admit(record, peer, frame, fields)
        elif peer not in self._resolving:
            self._resolving.add(peer)
            spawn("hello", self._resolve, record, older, peer, frame, fields, vital=False)

    def _resolve(
        self, record: NodeRecord, older: bytes | None, peer: bytes, frame: Frame, fields: dict[str, Any]
    ) -> None:
        """Another process has the node's key, or the key is the next one.

        Admit a restarted client, refuse a copy of its state folder.
        """
        try:
            self._compare(record, older, peer, frame, fields)
        except ProtocolError as error:
            seldom.warning("dropped a message of %s: %s", record.name, error)
        finally:
            self._resolving.discard(peer)

    def _compare(
        self, record: NodeRecord, older: bytes | None, peer: bytes, frame: Frame, fields: dict[str, Any]
    ) -> None:
        if older not in (None, peer) and self._conflicts.still_answers(older) and record.peer == older:
            self._enrolment.quarantine(
                record, f"two clients have its key, at {record.address} and at {frame.get('Peer-Address')}; "
                f"stop one of them, then run director --accept-node {record.name}",
            )  # fmt: skip
            self._refuse(peer, "another client with the same key is online: its state folder was copied; "
                         "stop one of them, or remove this one's and give it another --identity", 30)  # fmt: skip
            return
        if key_of(frame) == record.next_key:
            self._rotation.complete(record, record.next_key)
        is_its = self._roster.nodes.get(record.name) is record and key_of(frame) == record.key
        if is_its and not self._is_revoked(frame):
            self._admit(record, peer, frame, fields)

    def _is_revoked(self, frame: Frame) -> bool:
        """Whether the key was revoked while this connection was there: it is cut then, as ZAP asks only once."""
        if not self._enrolment.is_revoked(key_of(frame)):
            return False
        cut(connection_of(frame))
        return True

    def _is_other_version(self, peer: bytes, fields: dict[str, Any]) -> bool:
        """Whether the client speaks another version of the protocol; it is told so then."""
        if fields["v"] == messages.VERSION:
            return False
        seldom.warning("%s speaks protocol %s, this server %s", fields["name"][:253], fields["v"], messages.VERSION)
        self._refuse(peer, f"the server speaks protocol {messages.VERSION}, this client {fields['v']}; "
                     f"install version {__version__} on it", REFUSED_AGAIN)  # fmt: skip
        return True

    def _refuse(self, peer: bytes, reason: str, retry: float) -> None:
        self._sender.send_to(peer, messages.encode("refused", reason=reason, retry=retry))

    def _admit(self, record: NodeRecord, peer: bytes, frame: Frame, fields: dict[str, Any]) -> None:
        """Begin the session: reconcile, send `welcome`, let the scheduler send steps."""
        self._asked.pop(peer, None)
        cursors = _cursors(fields["jobs"])
        lost = _why_lost(record, fields)
        again, is_first = record.peer is not None, record.last_seen is None
        self._roster.attach(record, peer)
        self._update(record, frame, fields)
        orders = self._scheduler.reconcile(record, cursors, lost)
        welcome = messages.encode(
            "welcome", v=messages.VERSION, interval=self._interval, now=time.time(), jobs=orders, server=__version__,
            labels=record.labels,
        )  # fmt: skip
        if not self._sender.send(record, welcome):
            return
        if not record.online:
            log.info("%s is online%s", record.name, " again" if again else "")
        record.online = True
        record.reason = record.reason if is_first and record.reason.startswith("took over") else ""
        self._note(record.name, record)
        self._rotation.tell(record)
        self._scheduler.online(record)

    def _update(self, record: NodeRecord, frame: Frame, fields: dict[str, Any]) -> None:
        now = time.time()
        record.heard, record.last_seen = time.monotonic(), now
        record.address, connection = str(frame.get("Peer-Address")), connection_of(frame)
        if connection != record.connection:
            record.connection, record.pieces = connection, 0
        record.version = sys.intern(fields["version"][:100])
        record.process_token = str(fields.get("process_token", ""))[:100]
        record.instance, record.journal_position = fields["instance"][:100], fields["journal_position"]
        record.agent_start = now - messages.number(fields.get("agent_uptime"))
        record.host_start = now - messages.number(fields.get("host_uptime"))
        self._take_sealing(record, fields.get("sealing"))
        record.take_profile(fields.get("profile") or {})
        self._ledger.write(("node", record.row()), lazy=True)

    def _take_sealing(self, record: NodeRecord, found: Any) -> None:
        """The keys that secrets may be sealed with for the node: the newest, and the one that it replaced."""
        given = [key for key in found[:2] if keys.is_key(key)] if isinstance(found, list) else []
        if record.sealing and record.sealing not in given:
            self._scheduler.expire_sealed(record)
        record.sealing = given[0] if given else ""


def key_of(frame: Frame) -> str:
    """The CURVE key that the sender of a message has proved, in Z85."""
    return str(frame.get("User-Id"))


def spread(hellos: float) -> float:
    """Seconds over which so many clients should spread their hellos, 10 at most."""
    return min(10.0, hellos / HELLOS_PER_SECOND)


def _cursors(rows: list[Any]) -> dict[str, int]:
    """Each job that the node holds, and the first of its steps that the node was not given."""
    try:
        cursors = {job: cursor for job, cursor in rows}
    except (TypeError, ValueError) as error:
        raise ProtocolError("a hello with a malformed list of jobs") from error
    if not all(isinstance(job, str) and isinstance(cursor, int) and cursor >= 0 for job, cursor in cursors.items()):
        raise ProtocolError("a hello with a malformed list of jobs")
    return cursors


def _why_lost(record: NodeRecord, fields: dict[str, Any]) -> str:
    """Why the node cannot know what it was given before: its state folder is another or an older one; else ""."""
    if record.instance and record.instance != fields["instance"]:
        return "the node came back with another state folder"
    if record.instance and fields["journal_position"] < record.journal_position:
        return "the node came back with an older state folder"
    return ""

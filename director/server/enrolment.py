"""The enrolment port: answers with the server's public key and takes requests for names.

One JSON line in, one JSON line out, over plain TCP. A request only makes a *candidate*: the key gets the name when
a CURVE connection proves that the client has the secret key.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
import ujson
from gevent import Greenlet, socket

from director import __version__, ids
from director.protocol import messages
from director.protocol.keys import is_key
from director.runtime import descriptors
from director.runtime.accept_loop import accept_all
from director.runtime.greenlets import spawn
from director.runtime.logs import Seldom
from director.server.ports import bound
from director.server.roster import NodeRecord, Roster

log = logging.getLogger(__name__)
seldom = Seldom(log)

LINE_LIMIT = 2048
PATIENCE = 10.0  # seconds for one request and its answer
ANSWER_SECONDS = 3.0  # that the holder of a name has to show that it is online
CANDIDATES = 20_000
CANDIDATE_TTL = 120.0  # seconds
PENDING = 1000
PENDING_TTL = 600.0  # seconds
CONNECTIONS = 500
BACKLOG = 1024
OUTDATED = 1000  # clients of another version that the log names


@dataclass(frozen=True, slots=True)
class Pending:
    """A client that was refused; `since` is the epoch time of its first request, `at` the monotonic one of its last."""

    name: str
    key: str
    address: str
    reason: str
    since: float
    at: float


class Enrolment:
    """Mode `auto`: the first key keeps its name; another key takes the name over only from a silent holder.

    Args:
        adopt: adds a new node to the roster; gets the reason too when the node took its name over.
        identify: asks a connection for a hello; False when the connection is gone.

    Attributes:
        pending: refused clients by name.
    """

    def __init__(
        self, roster: Roster, server_key: str, adopt: Callable[[NodeRecord, str], None],
        identify: Callable[[bytes], bool],
    ) -> None:  # fmt: skip
        self.pending: OrderedDict[str, Pending] = OrderedDict()
        self._roster, self._server_key = roster, server_key
        self._adopt, self._identify = adopt, identify
        self._candidates: OrderedDict[str, tuple[str, float, str]] = OrderedDict()  # key: name, when, holder's key
        self._outdated: set[tuple[str, str]] = set()  # name and address of clients of another version
        self._listener: socket.socket | None = None
        self._accepting: Greenlet | None = None

    def listen(self, host: str, port: int) -> None:
        """Open the port. Raises StartError: it is taken."""
        self._listener = bound(host, port, "--enroll-port")
        self._listener.listen(BACKLOG)
        self._accepting = spawn(
            "enrolment port", accept_all, self._listener, CONNECTIONS, self._serve, self._refuse_connection, vital=True
        )

    def stop(self) -> None:
        """Close the port."""
        if self._listener is not None and self._accepting is not None:
            self._accepting.kill()
            self._listener.close()

    def admits(self, key: str) -> bool:
        """Whether a client with this key may connect (ZAP)."""
        if descriptors.are_scarce():
            seldom.warning("nodes are refused: %s", descriptors.shortage())
            return False
        return key in self._roster.by_key or key in self._candidates

    def confirm(self, key: str) -> NodeRecord | None:
        """Make a candidate that has proved its key a node; None when the key is no candidate."""
        name, _, holder = self._candidates.pop(key, ("", 0.0, ""))
        former = self._roster.nodes.get(name)
        if not name or (former is not None and former.key != holder):
            return None  # another key got the name since; the client requests it again
        record = NodeRecord(name, key)
        why = ""
        if former is not None:
            why = f"took over the name from the key {former.key[:12]}… that was silent"
            record.reason, record.args = why, dict(former.args)
            record.labels, record.inherited = dict(former.labels), dict(former.labels)
            log.warning("%s: a new key %s", name, why)
        else:
            log.info("%s is enrolled with the key %s…", name, key[:12])
        self.pending.pop(name, None)
        self._adopt(record, why)
        return record

    # -- the port -----------------------------------------------------------------------------------------

    def _serve(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        try:
            with gevent.Timeout(PATIENCE), connection, connection.makefile("rb") as file:
                line = file.readline(LINE_LIMIT)
                connection.sendall(ujson.dumps(self._answer(line, str(address[0]))).encode() + b"\n")
        except (gevent.Timeout, OSError):
            log.debug("a client left the enrolment port or was too slow")

    @staticmethod
    def _refuse_connection(connection: socket.socket, why: str) -> None:
        connection.send(ujson.dumps({"v": messages.VERSION, "status": "refused", "reason": why}).encode() + b"\n")

    def _answer(self, line: bytes, address: str) -> dict[str, Any]:
        try:
            request = ujson.loads(line)
            version = request["v"]
        except (ValueError, TypeError, KeyError):
            return {"status": "refused", "reason": "a request is one JSON line with v, name and key"}
        answer = {"v": messages.VERSION, "server_key": self._server_key}
        if version != messages.VERSION:
            return {**answer, "status": "refused", "reason": self._other_version(version, request, address)}
        if "name" not in request:
            return answer
        return {**answer, **self._enrol(str(request["name"]), request.get("key"), address)}

    def _other_version(self, version: Any, request: dict[str, Any], address: str) -> str:
        name = str(request.get("name"))[:253]
        if (name, address) not in self._outdated and len(self._outdated) < OUTDATED:
            self._outdated.add((name, address))
            log.warning("%s (%s) speaks protocol %s, this server %s", name, address, version, messages.VERSION)
        return (
            f"the server speaks protocol {messages.VERSION}, this client {version}; install version {__version__} on it"
        )

    def _enrol(self, name: str, key: Any, address: str) -> dict[str, Any]:
        why = ids.name_fault(name)
        if why or not is_key(key):
            return {"status": "refused", "reason": why or "that is no public key"}
        if descriptors.are_scarce():
            seldom.warning("%s (%s) is refused: %s", name, address, descriptors.shortage())
            return {"status": "refused", "reason": descriptors.shortage()}
        holder = self._roster.nodes.get(name)
        if holder is None or holder.key == key or not self._answers(holder):
            self._add_candidate(key, name)
            return {"status": "ok"}
        reason = f"the name {name} belongs to another key that is online; give this client another --identity"
        self._refuse(name, key, address, reason)
        return {"status": "pending", "reason": reason}

    def _add_candidate(self, key: str, name: str) -> None:
        now = time.monotonic()
        self._candidates.pop(key, None)
        if key not in self._roster.by_key or self._roster.by_key[key].name != name:
            holder = self._roster.nodes.get(name)
            self._candidates[key] = (name, now, holder.key if holder else "")
        while self._candidates and (
            len(self._candidates) > CANDIDATES or now - next(iter(self._candidates.values()))[1] > CANDIDATE_TTL
        ):
            self._candidates.popitem(last=False)

    def _answers(self, holder: NodeRecord) -> bool:
        """Whether any message of the holder of a name comes within `ANSWER_SECONDS` of asking it for one."""
        asked = time.monotonic()
        if holder.peer is None or not self._identify(holder.peer):
            return False
        while time.monotonic() - asked < ANSWER_SECONDS:
            gevent.sleep(0.05)
            if (holder.heard or 0.0) > asked:
                return True
            if holder.peer is None:
                return False
        return False

    def _refuse(self, name: str, key: str, address: str, reason: str) -> None:
        now = time.monotonic()
        known = self.pending.pop(name, None)
        if known is None:
            log.warning("refused a client at %s: %s", address, reason)
        self.pending[name] = Pending(name, key, address, reason, known.since if known else time.time(), now)
        while self.pending and (
            len(self.pending) > PENDING or now - next(iter(self.pending.values())).at > PENDING_TTL
        ):
            self.pending.popitem(last=False)

"""Makes the lines of the audit log: who did what, what became of nodes and their keys, and who was refused.

The ledger numbers and chains the lines (`stores/audit_chain.py`); a line in the write of an act is on disk with it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import ujson

from director import __version__
from director.config.roles import Grant
from director.errors import StoreError
from director.runtime.greenlets import periodic
from director.runtime.logs import stamp
from director.server.ledger_client import LedgerClient, Op
from director.server.rates import Buckets

TEXT = 4000  # characters of one text of a line, as JSON
FIELD = 60_000  # of one field that has several, as JSON
DENIALS, DENIALS_RATE, USERS = 20, 1 / 3, 10_000  # of one user that have a line each: at once, then a second
COUNTED = 200  # users, addresses or keys that are told apart
EVERY = 60.0  # seconds between two lines that count


def line(event: str, nodes: Iterable[str] = (), **fields: Any) -> Op:
    """The operation that adds a line, which is bounded; the ledger folds the names of the nodes."""
    bounded = {name: _cut(value, TEXT if isinstance(value, str) else FIELD) for name, value in fields.items()}
    return "audit", {"entry": {"at": stamp(time.time()), "event": event, **bounded}, "nodes": list(nodes)}


def shown(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something; of a long one the beginning and the digest."""
    return {name: _cut(value) for name, value in fields.items() if value not in (None, "", False, (), [], {})}


def _cut(value: Any, most: int = TEXT) -> Any:
    written = _json(value)
    if len(written) <= most:
        return value
    text = value if isinstance(value, str) else written
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    begins = text[:TEXT]
    while len(_json(begins)) > TEXT:  # a character may become six
        begins = begins[: len(begins) * 3 // 4]
    return {"begins": begins, "characters": len(text), "sha256": digest}


def _json(value: Any) -> str:
    return ujson.dumps(value, escape_forward_slashes=False)


class AuditTrail:
    """Writes the lines that belong to no other write, and counts what has no line of its own."""

    def __init__(self, ledger: LedgerClient) -> None:
        self._ledger = ledger
        self._denials = Buckets(DENIALS, DENIALS_RATE, USERS)
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._since = time.time()

    def begin(self) -> None:
        """The server serves from now on."""
        self.note(line("server-started", version=__version__, pid=os.getpid(), uid=os.geteuid()))
        periodic("audit counts", EVERY, self.write_counts)

    def stop(self) -> None:
        """The server ends."""
        self.write_counts()
        self.note(line("server-stopped"))

    def note_roles(self, grants: Iterable[Grant]) -> None:
        """The roles were read again."""
        self.note(line("roles-read", **shown({"roles": [(one.role, one.who, one.scope) for one in grants]})))

    def commit(self, operation: Op) -> None:
        """Write a line before the act that it tells of. Raises StoreError: it is not written, so do nothing."""
        if self._ledger.stuck:
            raise StoreError(f"the audit log cannot be written: {self._ledger.stuck}; nothing was done")
        self._ledger.commit(operation, refusable=True)

    def order(self, operation: Op) -> None:
        """Write a line before what is written from now on; as soon as the disk takes it."""
        self._ledger.write(operation)

    def note(self, operation: Op) -> None:
        """Write a line soon; when the disk does not take it, it is counted."""
        kind = operation[1]["entry"]["event"], "not written"
        self._ledger.write(
            operation, refusable=True, lazy=True, then=lambda error: self.count(*kind) if error else None
        )

    def deny(self, uid: int, operation: Op) -> None:
        """Note that a user was refused; one who is refused often is counted."""
        if self._denials.take(str(uid), time.monotonic()):
            self.note(operation)
        else:
            self.count("denied", f"uid {uid}")

    def count(self, event: str, what: str) -> None:
        """Count something that has no line of its own."""
        counts = self._counts[event]
        counts[what if what in counts or len(counts) < COUNTED else "others"] += 1

    def write_counts(self) -> None:
        """Write what was counted since the last time: a line for each event."""
        counts, since = self._counts, self._since
        self._counts, self._since = defaultdict(Counter), time.time()
        for event, found in counts.items():
            self.note(line(f"{event}-counted", since=stamp(since), counts=dict(found)))


class Entry:
    """What the log says of one call of a command.

    Args:
        fields: tells who called, and what with; it is asked when there is a line.

    Attributes:
        role: that allows the command; "" until it is known.
        written: whether the log says that this is done.
    """

    def __init__(self, trail: AuditTrail, uid: int, fields: Callable[[], Mapping[str, Any]]) -> None:
        self._trail, self._uid, self._of_call = trail, uid, fields
        self.role = ""
        self.written = False

    @cached_property
    def _fields(self) -> dict[str, Any]:
        return {**self._of_call(), **({"role": self.role} if self.role else {})}

    def line(self, nodes: Iterable[str] = (), **more: Any) -> Op:
        """The operation for the write of the act itself; `more` beats what the fields are."""
        return line("command", nodes, **{**self._fields, **more})

    def write(self, nodes: Iterable[str] = (), **more: Any) -> None:
        """Write that this is done to these nodes, before it is done. Raises StoreError: do nothing."""
        self._trail.commit(self.line(nodes, **more))
        self.written = True

    def order(self, nodes: Iterable[str] = (), **more: Any) -> None:
        """The same for what is done at once, though the disk may be full."""
        self._trail.order(self.line(nodes, **more))
        self.written = True

    def deny(self, reason: str) -> None:
        """The caller was refused."""
        self._trail.deny(self._uid, line("denied", **self._fields, **shown({"reason": reason})))

    def deny_stranger(self) -> None:
        """The caller has no role at all."""
        self._trail.count("denied", f"uid {self._uid}, who has no role")

    def fail(self, reason: str) -> None:
        """It was not done after all, or not all of it."""
        if self.written:
            self._trail.note(line("failed", **self._fields, **shown({"reason": reason})))

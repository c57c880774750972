"""The commands about nodes and the server itself: list, show, forget, export."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import ujson

from director import __version__
from director.api.requests import Caller, Nothing
from director.errors import NotFoundError, StoreError
from director.runtime.greenlets import breathe
from director.runtime.logs import stamp
from director.runtime.loop_lag import LoopLag
from director.server.enrolment import Enrolment
from director.server.ledger_client import LedgerClient
from director.server.membership import Membership
from director.server.pending import Pending
from director.server.roster import NodeRecord, Roster
from director.server.rotation import Rotation
from director.targets import resolve

BATCH = 500  # rows in one part of an answer
RECENT = 3600.0  # seconds in which a node that was cut off and came back is shown with the reason
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NodeFilter:
    """Selects nodes that match all fields given.

    Attributes:
        node: a target expression.
        state: node states.
        since: seen after this time, epoch seconds.
        limit: the last so many by name; 0 for all.
        token: id of the token that they were enrolled with.
        fact: the name of a fact, as `os.version`, whose value each row gets as `fact`.
    """

    node: str | None = None
    state: tuple[str, ...] = ()
    since: float | None = None
    limit: int = 0
    token: str | None = None
    fact: str | None = None


@dataclass(frozen=True, slots=True)
class NodeTarget:
    """Nodes by a target expression; without one all of them."""

    node: str | None = None


@dataclass(frozen=True, slots=True)
class NodeExpression:
    """Nodes by a target expression, which must select some."""

    node: str


@dataclass(frozen=True, slots=True)
class NodeName:
    """One node, by its name or a unique prefix of it."""

    node: str


class Nodes:
    """Answers the commands about nodes.

    Args:
        grace: seconds from now in which a node that has not been heard of may still come back.
    """

    def __init__(
        self, roster: Roster, membership: Membership, enrolment: Enrolment, ledger: LedgerClient, grace: float,
        lag: LoopLag, rotation: Rotation,
    ) -> None:  # fmt: skip
        self._roster, self._membership, self._enrolment, self._ledger = roster, membership, enrolment, ledger
        self._lag, self._rotation = lag, rotation
        self._back_by = time.monotonic() + grace

    def hello(self, request: Nothing, caller: Caller) -> Row:
        """Version, pid, the number of nodes by state, and the longest turns of the server's loop, in seconds."""
        lag = {"lag": round(self._lag.lately, 4), "lag_ever": round(self._lag.ever, 4),
               "busy_ever": round(self._lag.busy, 4)}  # fmt: skip
        nodes = Counter(self._roster.nodes[name].state for name in self._names(None, caller))
        return {"version": __version__, "pid": os.getpid(), "nodes": nodes, **lag}

    def list_nodes(self, request: NodeFilter, caller: Caller) -> Iterator[list[Row]]:
        """Nodes by name, then keys that were refused or wait for enrolment; lists of at most `BATCH` rows.

        Raises:
            UsageError: `node` cannot be read. NoTargetError: it names a node that is not there.
            NotPermittedError: it names a node outside of the caller's scope. NotFoundError: there is no such token.
        """
        last = bool(request.limit)  # make rows of the last names only
        names = sorted(self._names(request.node, caller), reverse=last)
        newcomers = [] if request.node else list(map(pending_row, waiting_for(self._enrolment, self._roster, caller)))
        if request.token:
            self._enrolment.tokens.get(request.token)
            newcomers, names = [], [name for name in names if self._roster.nodes[name].token == request.token]
        rows = self._rows(names, request.state, request.fact)
        every = chain(reversed(newcomers), rows) if request.limit else chain(rows, newcomers)
        since = "" if request.since is None else stamp(request.since)
        found = (
            row
            for row in every
            if (not request.state or row["state"] in request.state) and (row["last_seen"] or "") >= since
        )
        return batches(reversed(list(islice(found, request.limit))) if request.limit else found)

    def node_info(self, request: NodeName, caller: Caller) -> Row:
        """One node with facts and remembered ARGs, and the lag of the server's loop in seconds.

        Raises:
            NotFoundError: no node or several nodes have this name.
            NotPermittedError: the node is outside of the caller's scope.
        """
        return {**node_detail(self._record(request.node, caller)), "server_lag": round(self._lag.lately, 4)}

    def export_nodes(self, request: Nothing, caller: Caller) -> Iterator[list[Row]]:
        """Every node with facts and remembered ARGs, in lists of at most `BATCH`."""
        records = [self._roster.nodes[name] for name in sorted(self._names(None, caller))]
        return batches(map(node_detail, records))

    def purge_nodes(self, request: NodeTarget, caller: Caller) -> Row:
        """Forget offline nodes, and end the tasks that wait for them: `{"count": n}`.

        Raises:
            UsageError: `node` cannot be read. NoTargetError: it names a node that is not there.
            NotPermittedError: it names a node outside of the caller's scope.
        """
        names = [name for name in self._names(request.node, caller) if self._is_away(self._roster.nodes[name])]
        if names:
            caller.entry.write(names)
        there = self._roster.nodes  # some may have gone, or come, while the disk wrote
        names = [name for name in names if name in there and self._is_away(there[name])]
        self._enrolment.pending.mark(names, time.monotonic())
        self._ledger.commit(*self._membership.forget(names, f"was purged by {caller.user}"))
        return {"count": len(names)}

    def revoke_nodes(self, request: NodeExpression, caller: Caller) -> Row:
        """Forbid the keys of nodes, cut their connections and end their open tasks as lost: `{"nodes": [names]}`.

        Raises:
            UsageError: `node` cannot be read. NoTargetError: it selects nothing.
        """
        names = self.select(request.node, caller)
        caller.entry.order(names)
        self.revoke(names, f"by {caller.user}")
        return {"nodes": names}

    def rotate_keys(self, request: NodeExpression, caller: Caller) -> Row:
        """Let nodes replace their keys, those that are offline when they come back: `{"nodes": [names]}`.

        Raises:
            UsageError: `node` cannot be read. NoTargetError: it selects nothing.
        """
        names = self.select(request.node, caller)
        caller.entry.write(names)
        return {"nodes": self._rotation.order(name for name in names if name in self._roster.nodes)}

    def revoke(self, names: Sequence[str], why: str) -> None:
        """Forbid the keys of these nodes; returns when that is on disk. Raises StoreError: it is not."""
        errors: list[str | None] = []
        self._ledger.write(*self._membership.revoke(names, why), then=errors.append)
        self._membership.cut_off(names, why)
        self._ledger.commit()
        if errors[0]:
            raise StoreError(errors[0])

    def select(self, expression: str, caller: Caller) -> list[str]:
        """The nodes of an expression, in the caller's scope.

        Raises:
            UsageError, NoTargetError: as `resolve`, also when there are none.
            NotPermittedError: it names a node outside of the scope.
        """
        return resolve([expression], caller.rights.scope.within(self._roster)).nodes

    def _names(self, expression: str | None, caller: Caller) -> list[str]:
        """The nodes of an expression, all without one, in the caller's scope. Raises as `select`, but may be empty."""
        view = caller.rights.scope.within(self._roster)
        return resolve([expression], view, may_be_empty=True).nodes if expression else list(view.names())

    def _is_away(self, record: NodeRecord) -> bool:
        """Whether the node is offline, and not only because this server has just started."""
        has_come = record.heard is not None or time.monotonic() >= self._back_by
        return record.revoked or (has_come and not record.online)

    def _rows(self, names: Iterable[str], states: tuple[str, ...], fact: str | None) -> Iterator[Row]:
        for number, name in enumerate(names, 1):
            if number % BATCH == 0:
                breathe()  # many names may pass without a row
            record = self._roster.nodes.get(name)  # it may be purged while earlier rows are sent
            if record is not None and (not states or record.state in states):
                yield {**node_row(record), "fact": _value(record.facts, fact)} if fact else node_row(record)

    def _record(self, name: str, caller: Caller) -> NodeRecord:
        if name in self._roster.nodes:
            caller.rights.scope.require([name], self._roster)
            return self._roster.nodes[name]
        matches = [known for known in self._names(None, caller) if known.startswith(name)]
        if len(matches) != 1:
            near = f"; did you mean {', '.join(sorted(matches)[:3])}?" if matches else ""
            raise NotFoundError(f"there is no node {name}{near}")
        return self._roster.nodes[matches[0]]


def node_row(record: NodeRecord) -> Row:
    """One node as `--list-nodes` shows it."""
    seen = record.seen(time.time(), time.monotonic())
    trouble = record.quarantine or record.trouble or record.reason
    return {
        "id": record.name,
        "state": record.state,
        "address": record.address or None,
        "version": record.version or None,
        "labels": record.labels,
        "last_seen": stamp(seen) if seen else None,
        "agent_uptime": _uptime(record, record.agent_start),
        "host_uptime": _uptime(record, record.host_start),
        "key": record.key,
        "reason": "; ".join(filter(None, (_cut_off(record), trouble))) or None,
    }


def _cut_off(record: NodeRecord) -> str:
    """Why the node was cut off, unless that was long ago."""
    return record.cut_off if time.monotonic() < record.budget.barred_until + RECENT else ""


def node_detail(record: NodeRecord) -> Row:
    """One node as `--node-info` shows it: the row, facts and remembered ARGs, the lag of its loop in seconds."""
    more = {"token": record.token or None, "lag": record.lag, "facts": ujson.loads(record.facts), "args": record.args}
    return {**node_row(record), **more}


def waiting_for(enrolment: Enrolment, roster: Roster, caller: Caller) -> list[Pending]:
    """The keys that wait for a name in the caller's scope."""
    rows = list(enrolment.pending)
    covered = caller.rights.scope.covered((row.name for row in rows), roster)
    return [row for row in rows if row.name in covered]


def pending_row(row: Pending) -> Row:
    """A key that waits, as a node in state `pending`."""
    seen = time.time() - (time.monotonic() - row.at)
    return {
        "id": row.name, "state": "pending", "address": row.address, "version": None, "labels": {},
        "last_seen": stamp(seen), "agent_uptime": None, "host_uptime": None, "key": row.key, "reason": row.reason,
    }  # fmt: skip


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Lists of at most `BATCH` rows; other greenlets run between them."""
    rows = iter(rows)
    while batch := list(islice(rows, BATCH)):
        yield batch
        breathe()


def _value(facts: str, name: str) -> Any:
    """The value of the fact with this name, dots lead into objects; None where there is none."""
    value = ujson.loads(facts)
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _uptime(record: NodeRecord, start: float | None) -> float | None:
    return round(max(0.0, time.time() - start), 3) if record.online and start is not None else None

"""The commands about who gets in: tokens, keys that wait, names that may be renewed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from director import labels
from director.api.nodes import batches, node_row, pending_row, waiting_for
from director.api.requests import Caller, Nothing
from director.errors import NotPermittedError, UsageError
from director.runtime.logs import stamp
from director.server.enrolment import Enrolment
from director.server.enrolment_rules import TokenRow
from director.server.ledger_client import LedgerClient
from director.server.roster import Roster
from director.targets import RoleScope, RosterView, names_match, spelled_out

TTL = 3600.0  # seconds
RENEW_TTL = 4 * 3600.0
LONGEST = 366 * 86400.0
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to be made.

    Attributes:
        ttl: seconds that it is in force.
        max_nodes: how many nodes it enrols; 0 for any number.
        nodes: an expression of names, sets, globs and regexes; "" for any name.
        labels: that its nodes get.
        reusable: whether a new key may take over a name that was enrolled with it.
    """

    ttl: float = TTL
    max_nodes: int = 0
    nodes: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    reusable: bool = False


@dataclass(frozen=True, slots=True)
class OldToken:
    """A token to be revoked; `with_nodes`: the nodes that it enrolled, too."""

    id: str
    with_nodes: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """Keys that wait: of the names of an expression, and only those that begin with one of `keys`, if any."""

    node: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """Names, each with the whole key that waits for it."""

    nodes: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Renewal:
    """Nodes whose names are opened once for a new key with any token, for `ttl` seconds."""

    node: str
    ttl: float = RENEW_TTL


class Enrolments:
    """Answers the commands about who gets in.

    Args:
        addresses: `host:port` under which clients reach this server, for tokens.
        select: the names that a target expression selects for a caller.
        revoke: revokes the keys of nodes; gets their names and the reason.
    """

    def __init__(
        self, enrolment: Enrolment, roster: Roster, ledger: LedgerClient, addresses: Sequence[str],
        select: Callable[[str, Caller], list[str]], revoke: Callable[[Sequence[str], str], None],
    ) -> None:  # fmt: skip
        self._enrolment, self._roster, self._ledger, self._addresses = enrolment, roster, ledger, tuple(addresses)
        self._select, self._revoke = select, revoke

    def create_token(self, request: NewToken, caller: Caller) -> Row:
        """A new token: the row of `list_tokens`, with the string itself as `token` and the server's `addresses`.

        Raises:
            UsageError: a lifetime, number, expression or label that cannot be used.
            NotPermittedError: a name or a label that is not the caller's to give.
        """
        if not 0 < request.ttl <= LONGEST or not 0 <= request.max_nodes <= 1_000_000:
            raise UsageError("a token is in force for at most a year, and enrols at most 1,000,000 nodes")
        if request.nodes:
            names_match(request.nodes, "x")  # it can be read
        for name in request.labels:
            if why := labels.name_fault(name):
                raise UsageError(f"--label {name}: {why}")
        if why := labels.excess(request.labels):
            raise UsageError(f"--label: {why}")
        caller.rights.require_labels(request.labels)
        within = bounds_of_token(request.nodes, caller.rights.scope, self._roster)
        token, row = self._enrolment.tokens.make(
            self._addresses, created_by=caller.user, expires_at=time.time() + request.ttl, max_nodes=request.max_nodes,
            nodes=request.nodes, labels=request.labels, reusable=request.reusable, within=within,
        )  # fmt: skip
        caller.entry.write(token=row.id)
        self._ledger.commit(self._enrolment.tokens.put(row))
        return {**token_row(row), "token": token.encode(), "addresses": list(token.addresses)}

    def list_tokens(self, request: Nothing, caller: Caller) -> Iterator[list[Row]]:
        """Every token, the oldest first, without its secret; in lists. Of a caller with a scope, those it made."""
        return batches(token_row(row) for row in self._enrolment.tokens if is_own(row, caller))

    def revoke_token(self, request: OldToken, caller: Caller) -> Row:
        """End a token, and with `with_nodes` revoke its nodes: `{"count": nodes revoked}`.

        Raises:
            NotFoundError: there is no such token.
            NotPermittedError: the caller has a scope and another user made the token, or a node is outside of it.
        """
        if not is_own(self._enrolment.tokens.get(request.id), caller):
            raise NotPermittedError(f"another user made the token {request.id}; you may revoke your own")
        names = self._enrolment.enrolled_with(request.id) if request.with_nodes else []
        caller.rights.scope.require(names, self._roster)
        caller.entry.order(names)
        self._ledger.write(self._enrolment.tokens.revoke(request.id))
        if names:
            self._revoke(names, f"its token {request.id} was revoked by {caller.user}")
        self._ledger.commit()
        return {"count": len(names)}

    def list_waiting(self, request: Waiting, caller: Caller) -> Iterator[list[Row]]:
        """Keys that wait, as nodes in state `pending`, and nodes in quarantine.

        Raises:
            UsageError: the expression cannot be read.
        """
        names_match(request.node, "x")
        held = self._enrolment.quarantined()
        covered = caller.rights.scope.covered((record.name for record in held), self._roster)
        waiting = map(pending_row, waiting_for(self._enrolment, self._roster, caller))
        rows = chain((node_row(record) for record in held if record.name in covered), waiting)
        return batches(
            row
            for row in rows
            if names_match(request.node, row["id"])
            and (not request.keys or any(row["key"].startswith(key) for key in request.keys))
        )

    def accept_node(self, request: Chosen, caller: Caller) -> Row:
        """Give waiting keys their names, and end quarantines: `{"count": n}`.

        Raises:
            NotFoundError: a key does not wait any more. NotPermittedError: a name is outside of the caller's scope.
        """
        caller.rights.scope.require((name for name, _ in request.nodes), self._roster)
        if request.nodes:
            caller.entry.write(name for name, _ in request.nodes)
        for name, key in request.nodes:
            self._enrolment.accept(name, key, caller.user)
        return {"count": len(request.nodes)}

    def reject_node(self, request: Chosen, caller: Caller) -> Row:
        """Forget waiting keys: `{"count": n}`. Raises as `accept_node`."""
        caller.rights.scope.require((name for name, _ in request.nodes), self._roster)
        if request.nodes:
            caller.entry.write(name for name, _ in request.nodes)
        for name, key in request.nodes:
            self._enrolment.reject(name, key)
        return {"count": len(request.nodes)}

    def renew_node(self, request: Renewal, caller: Caller) -> Row:
        """Open names for a new key: `{"nodes": [names], "until": time}`.

        Raises:
            UsageError: the expression or the time cannot be used. NoTargetError: it selects nothing.
            NotPermittedError: it names a node outside of the caller's scope.
        """
        if not 0 < request.ttl <= LONGEST:
            raise UsageError("--ttl: a name is open for at most a year")
        names, until = self._select(request.node, caller), time.time() + request.ttl
        caller.entry.write(names, until=stamp(until))
        names = [name for name in names if name in self._roster.nodes]  # some may have gone while the disk wrote
        self._ledger.commit(*(self._enrolment.renew(name, until) for name in names))
        return {"nodes": names, "until": stamp(until)}


def bounds_of_token(nodes: str, scope: RoleScope, roster: RosterView) -> tuple[str, ...]:
    """The expressions that bound a token for `nodes` ("" for any name) to a scope; none when it has no bounds.

    Raises:
        NotPermittedError: `nodes` spells out a name outside of the scope, or the scope has no names.
    """
    if scope.is_everything:
        return ()
    if not scope.of_names:
        raise NotPermittedError(f"a token is for names, and your nodes are not made of names alone ({scope})")
    scope.require(spelled_out(nodes) if nodes else (), roster)
    return scope.of_names


def is_own(row: TokenRow, caller: Caller) -> bool:
    """Whether the caller may look at a token and revoke it."""
    return caller.rights.scope.is_everything or row.created_by == caller.user


def token_row(row: TokenRow) -> Row:
    """One token as `--list-tokens` shows it; state is `valid`, `expired`, `revoked` or `full`."""
    full = bool(row.max_nodes) and row.used >= row.max_nodes
    state = "revoked" if row.revoked_at else "expired" if time.time() >= row.expires_at else "full" if full else "valid"
    return {
        "id": row.id, "state": state, "used": row.used, "max_nodes": row.max_nodes, "nodes": row.names or None,
        "labels": dict(row.labels), "reusable": row.reusable, "created_at": stamp(row.created_at),
        "created_by": row.created_by, "expires_at": stamp(row.expires_at),
        "revoked_at": stamp(row.revoked_at) if row.revoked_at else None,
    }  # fmt: skip

"""Decides whether a key gets a name. Pure: it knows no socket, no disk and no clock.

A name belongs to its key for good. A key gets a *known* name in three ways only: by the reusable token that the name
was enrolled with, while the holder is gone; by any token, after `--renew-node`; or when a person accepts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

AUTO, TOKEN, MANUAL = "auto", "token", "manual"
MODES = (AUTO, TOKEN, MANUAL)


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as the server knows it.

    Attributes:
        verify_key: public half of its secret, hexadecimal.
        created_at, expires_at, revoked_at: epoch seconds; `revoked_at` is None for a token in force.
        max_nodes: places; 0 for no bound.
        used: places taken.
        nodes: a target expression of names that it enrols; "" for any.
        within: target expressions, one of which must select a name as well; none for no further bound.
        labels: that its nodes get.
        reusable: whether a new key may take over a name that was enrolled with it.
    """

    id: str
    verify_key: str
    created_at: float
    created_by: str
    expires_at: float
    max_nodes: int = 0
    used: int = 0
    nodes: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    reusable: bool = False
    revoked_at: float | None = None
    within: Sequence[str] = ()

    @property
    def names(self) -> str:
        """The names that it enrols, for messages; "" for any."""
        return " of ".join(filter(None, (self.nodes, ", ".join(self.within))))

    def fault(self, now: float) -> str:
        """Why it is not in force at `now`, epoch seconds; "" when it is."""
        if self.revoked_at is not None:
            return f"the token {self.id} was revoked"
        if now >= self.expires_at:
            return f"the token {self.id} has expired"
        return ""


@dataclass(frozen=True, slots=True)
class Request:
    """A client with a proved key asks for a name.

    Attributes:
        token: the token whose secret it has proved, None without one.
        fits: whether the name is among those that the token enrols.
        bound: why the key cannot leave the name that it has, "" when it can or has none.
    """

    name: str
    key: str
    token: TokenRow | None = None
    fits: bool = True
    bound: str = ""


@dataclass(frozen=True, slots=True)
class Holder:
    """The node that has the name.

    Attributes:
        key: its public key.
        token: id of the token that it was enrolled with, "" for none.
        renew_until: epoch seconds until which a new key may have the name; 0 for never.
        is_gone: whether it has no connection, or did not answer on it just now; None when that was not asked yet.
        revoked: whether its key was revoked; then only `renew_until` and a person open the name.
    """

    key: str
    token: str = ""
    renew_until: float = 0.0
    is_gone: bool | None = None
    revoked: bool = False


class Act(Enum):
    """What is done with a request."""

    ENROL = "enrol"  # the name is new
    KEEP = "keep"  # the key has the name already
    TAKE_OVER = "take over"  # the name goes to this key
    ASK_HOLDER = "ask holder"  # find out whether the holder answers, then decide again
    WAIT = "wait"  # until a person accepts it, or something changes
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done and why.

    Attributes:
        reason: for the client, the log and `--list-nodes`.
        uses_place: whether a place of the token is taken.
    """

    act: Act
    reason: str = ""
    uses_place: bool = False


def decide(request: Request, holder: Holder | None, mode: str, now: float, may_enrol: str = "") -> Decision:
    """What to do with a request.

    Args:
        holder: the node that has the name, None for a new name.
        mode: one of `MODES`.
        now: epoch seconds.
        may_enrol: why mode `auto` does not let this key have a new name, "" when it does.
    """
    if holder is not None and holder.key == request.key:
        return Decision(Act.KEEP)
    fault = _token_fault(request, now)
    if fault:
        return Decision(Act.REFUSE, fault)
    if request.bound:
        return Decision(Act.WAIT, request.bound)
    return _decide_new(request, mode, may_enrol) if holder is None else _decide_known(request, holder, now)


def _token_fault(request: Request, now: float) -> str:
    token = request.token
    if token is None:
        return ""
    return token.fault(now) or (
        "" if request.fits else f"the token {token.id} is for the nodes {token.names}, not for {request.name}"
    )


def _decide_new(request: Request, mode: str, may_enrol: str) -> Decision:
    token = request.token
    if mode == MANUAL:
        return Decision(Act.WAIT, f"this server enrols by hand; run director --accept-node {request.name}")
    if token is not None:
        if token.max_nodes and token.used >= token.max_nodes:
            return Decision(Act.REFUSE, f"the token {token.id} has enrolled its {token.max_nodes} nodes")
        return Decision(Act.ENROL, f"enrolled with the token {token.id}", uses_place=True)
    accept = f"; give it a token (director --create-token), or run director --accept-node {request.name}"
    if mode == TOKEN:
        return Decision(Act.WAIT, "this server enrols with tokens only" + accept)
    return Decision(Act.WAIT, may_enrol + accept) if may_enrol else Decision(Act.ENROL, "enrolled as a new name")


def _decide_known(request: Request, holder: Holder, now: float) -> Decision:
    name, token = request.name, request.token
    if token is not None and holder.renew_until > now:
        return Decision(Act.TAKE_OVER, f"renewed with the token {token.id}")
    if holder.revoked:
        return Decision(
            Act.WAIT,
            f"the key of {name} was revoked: give this client another --identity, or run director with "
            f"--renew-node {name}, --accept-node {name} or --purge-nodes --node {name}",
        )
    if token is not None and token.reusable and token.id == holder.token:
        if holder.is_gone is None:
            return Decision(Act.ASK_HOLDER)
        if holder.is_gone:
            return Decision(Act.TAKE_OVER, f"took over the name with the token {token.id}, as its holder was gone")
        return Decision(Act.WAIT, f"the name {name} belongs to a node that is online; give this one another --identity")
    return Decision(
        Act.WAIT,
        f"the name {name} belongs to another key: give this client another --identity, or the reusable token that the "
        f"name was enrolled with, or run director with --renew-node {name}, --accept-node {name} or "
        f"--purge-nodes --node {name}",
    )

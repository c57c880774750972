"""Who may run which command on which nodes, by the roles in the settings file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from director.config.roles import Grant
from director.errors import NotPermittedError, UsageError
from director.node_sets import natural
from director.scheduler.blocks import reach_of
from director.targets import EVERYTHING, RoleScope, RosterView, TargetSyntaxError

#: for each role that a command needs, the roles that have it
HAVE: Mapping[str, Collection[str]] = {
    "viewer": ("viewer", "operator", "enroller", "admin"),
    "operator": ("operator", "admin"),
    "enroller": ("enroller", "admin"),
    "admin": ("admin",),
}


@dataclass(frozen=True, slots=True)
class Rights:
    """What a caller may reach with one command.

    Attributes:
        scope: the nodes.
        barred: names of labels that it may not set, as they decide what is in a scope.
        role: that allows the command.
    """

    scope: RoleScope = EVERYTHING
    barred: frozenset[str] = frozenset()
    role: str = "admin"

    def require_labels(self, names: Iterable[str]) -> None:
        """Raise NotPermittedError when one of these labels may not be set."""
        if taken := self.barred.intersection(names):
            raise NotPermittedError(
                f"the label {', '.join(natural(taken))} decides who may do what; only an admin sets it"
            )

    def require_plan(self, meta: Mapping[str, Any], roster: RosterView) -> None:
        """Raise NotPermittedError when a job with this plan would reach other nodes, or set such labels."""
        self.scope.require(reach_of(meta), roster)
        self.require_labels(
            name for spec in meta.get("labels", {}).values() for labels in spec["sets"] for name in labels
        )


NOTHING = Rights(RoleScope(()), role="")


class NoRoleError(NotPermittedError):
    """The caller has no role at all."""


class Needs(Protocol):
    """What a command needs: the least role, and whether it keeps to the nodes of a scope."""

    @property
    def role(self) -> str:
        """One of `HAVE`."""

    @property
    def scoped(self) -> bool:
        """Without it a role counts only when it is for all nodes."""


class Asks(Protocol):
    """Who asks: the user's name and those of the groups."""

    @property
    def user(self) -> str:
        """The name of the user."""

    @property
    def groups(self) -> Collection[str]:
        """The names of the groups."""


class Permissions:
    """The roles of users and groups; without any, whoever can open the socket is an admin.

    Args:
        grants: as `read_roles` returns them.

    Raises:
        UsageError: a scope cannot be read; with file and line.
    """

    def __init__(self, grants: Sequence[Grant] | None) -> None:
        self._grants, self._scopes = grants, _scopes(grants or ())

    def replace(self, grants: Sequence[Grant] | None) -> None:
        """Take other roles. Raises UsageError, and keeps those it has, when they are malformed or all are gone."""
        if grants is None and self._grants is not None:
            raise UsageError("no settings file has roles any more; start the server anew to run without any")
        self._scopes, self._grants = _scopes(grants or ()), grants

    def permit(self, caller: Asks, needs: Needs) -> Rights:
        """What the caller may reach with a command. Raises NotPermittedError, NoRoleError: nothing."""
        if self._grants is None:
            return Rights()
        who = {f"@{group}" for group in caller.groups}
        if not caller.user.startswith("@"):
            who.add(caller.user)
        given = [grant for grant in self._grants if grant.who in who]
        mine = [grant for grant in given if grant.role in HAVE[needs.role]]
        if not mine:
            kind = NotPermittedError if given else NoRoleError
            raise kind(f"{caller.user} may not do this: it needs the role {needs.role}, which an admin gives")
        is_admin = any(grant.role == "admin" for grant in mine)
        role = "admin" if is_admin else mine[0].role
        barred = frozenset[str]() if is_admin else frozenset().union(*(one.label_keys for one in self._scopes.values()))
        if any(grant.scope is None for grant in mine):
            return Rights(EVERYTHING, barred, role)
        if not needs.scoped:
            raise NotPermittedError(f"{caller.user} may not do this: it needs the role {needs.role} for all nodes")
        return Rights(RoleScope(grant.scope for grant in mine if grant.scope is not None), barred, role)


def _scopes(grants: Iterable[Grant]) -> dict[str, RoleScope]:
    """The scope of each text. Raises UsageError: one cannot be read; with file and line."""
    found: dict[str, RoleScope] = {}
    for grant in grants:
        if grant.scope is not None:
            try:
                found[grant.scope] = RoleScope([grant.scope])
            except TargetSyntaxError as error:
                raise UsageError(f"{grant.place}: the nodes of {grant.who}: {error}") from error
    return found

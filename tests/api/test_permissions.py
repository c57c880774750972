"""Who may do what: roles of users and groups, with and without nodes of their own."""

from __future__ import annotations

import pytest

from director.api.commands import Command
from director.api.permissions import HAVE, Permissions
from director.api.requests import Caller, Nothing
from director.config.roles import ROLES, Grant
from director.errors import NotPermittedError, UsageError


def command(role: str, scoped: bool = True) -> Command:
    return Command(Nothing, role, lambda request, caller: {}, scoped)


def grant(role: str, who: str, scope: str | None = None) -> Grant:
    return Grant(role, who, scope, "d.yaml:3")


def caller(user: str, *groups: str) -> Caller:
    return Caller(user, 1000, 1000, 1, groups=frozenset(groups))


def allowed(permissions: Permissions, who: Caller) -> dict[str, str]:
    """The commands that a caller may run, by the role that they need, with the nodes."""
    found = {}
    for role in ROLES:
        try:
            found[role] = str(permissions.permit(who, command(role)).scope)
        except NotPermittedError:
            continue
    return found


def test_without_roles_everybody_is_an_admin() -> None:
    assert allowed(Permissions(None), caller("ann")) == dict.fromkeys(ROLES, "all")


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_those_below_it(role: str) -> None:
    found = allowed(Permissions([grant(role, "ann")]), caller("ann"))
    assert set(found) == {needed for needed in ROLES if role in HAVE[needed]}
    assert set(found) == {"viewer", role} | (set(ROLES) if role == "admin" else set())


def test_who_is_not_listed_is_denied() -> None:
    permissions = Permissions([grant("admin", "root"), grant("viewer", "@noc")])
    with pytest.raises(NotPermittedError, match=r"^ann may not do this: it needs the role viewer"):
        permissions.permit(caller("ann", "staff"), command("viewer"))
    assert not allowed(permissions, caller("noc", "root")), "a user is no group, and a group no user"
    assert not allowed(permissions, caller("@noc")), "nor is a user whose name looks like one"
    assert allowed(permissions, caller("ann", "noc")) == {"viewer": "all"}


def test_a_user_has_the_nodes_of_all_its_roles() -> None:
    permissions = Permissions([grant("viewer", "@noc", "db-*"), grant("operator", "ann", "web-*")])
    assert allowed(permissions, caller("ann", "noc")) == {"viewer": "db-*, web-*", "operator": "web-*"}
    wider = Permissions([grant("viewer", "@noc"), grant("operator", "ann", "web-*")])
    assert allowed(wider, caller("ann", "noc")) == {"viewer": "all", "operator": "web-*"}


def test_a_command_without_bounds_is_for_whom_all_nodes_are() -> None:
    permissions = Permissions([grant("operator", "ann", "web-*"), grant("operator", "bob")])
    with pytest.raises(NotPermittedError, match="needs the role operator for all nodes"):
        permissions.permit(caller("ann"), command("operator", scoped=False))
    assert permissions.permit(caller("bob"), command("operator", scoped=False)).scope.is_everything


def test_labels_of_scopes_are_admins() -> None:
    permissions = Permissions(
        [grant("operator", "ann", "label:tier=web"), grant("operator", "bob"), grant("admin", "eve")]
    )
    for user in ("ann", "bob"):
        rights = permissions.permit(caller(user), command("operator"))
        rights.require_labels(["rack"])
        with pytest.raises(NotPermittedError, match="the label tier decides who may do what"):
            rights.require_labels(["rack", "tier"])
    permissions.permit(caller("eve"), command("operator")).require_labels(["tier"])


def test_a_scope_that_cannot_be_read_is_named_with_its_line() -> None:
    with pytest.raises(UsageError, match=r"^d.yaml:3: the nodes of ann: .*facts are what nodes say"):
        Permissions([grant("operator", "ann", "fact:os.id=debian")])


def test_roles_that_cannot_be_used_change_nothing() -> None:
    permissions = Permissions([grant("viewer", "ann")])
    for wrong in ([grant("operator", "ann", "web-(")], None):
        with pytest.raises(UsageError):
            permissions.replace(wrong)
        assert allowed(permissions, caller("ann")) == {"viewer": "all"}
    permissions.replace([grant("operator", "ann", "web-*")])
    assert allowed(permissions, caller("ann")) == {"viewer": "web-*", "operator": "web-*"}

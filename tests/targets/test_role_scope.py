"""Scopes: which nodes they cover, and what is left of a roster within them."""

from __future__ import annotations

import pytest
from fleet import Fleet, small_fleet

from director.errors import NoTargetError, NotPermittedError
from director.targets import EVERYTHING, RoleScope, TargetSyntaxError, resolve


def covered(*texts: str, names: list[str] | None = None) -> list[str]:
    fleet = small_fleet()
    return sorted(RoleScope(texts).covered(names or [*fleet.names()], fleet))


def test_a_scope_covers_nodes_online_or_not() -> None:
    assert covered("web-0[5-6]") == ["web-05", "web-06"]
    assert covered("label:tier=db") == ["db1", "db2"]
    assert covered("label:tier=web and not label:keep=yes and ~web-0[1-5]") == ["web-02", "web-03", "web-04"]
    assert covered("not web-*") == covered("all and not web-*") == ["db1", "db2"]
    assert covered("db1", "web-10") == ["db1", "web-10"]
    assert covered() == []
    assert EVERYTHING.covered(["x"], small_fleet()) == {"x"}


def test_strangers_are_covered_by_names_only() -> None:
    assert covered("web-*", names=["web-99", "db1"]) == ["web-99"]
    assert covered("label:tier=web", "not label:tier=db", names=["web-99", "web-01"]) == ["web-01"]


@pytest.mark.parametrize("text", ["fact:os.id=debian", "web-* and not fact:cpu.count>2", "web-(", ""])
def test_facts_and_nonsense_are_no_scope(text: str) -> None:
    with pytest.raises(TargetSyntaxError):
        RoleScope([text])


def test_the_keys_and_the_names_of_a_scope() -> None:
    scope = RoleScope(["label:tier=web or web-1", "not label:rack", "db-*", "all and not web-*"])
    assert scope.label_keys == {"tier", "rack"}
    assert scope.of_names == ("db-*",)


def within(expr: str | None, fleet: Fleet | None = None) -> list[str]:
    view = RoleScope(["web-0[1-3] or label:tier=db"]).within(fleet or small_fleet())
    return resolve([expr] if expr else [], view).nodes


def test_broad_targets_are_narrowed() -> None:
    assert within(None) == within("all") == ["db1", "web-01", "web-02", "web-03"]
    assert within("web-*") == within("label:tier=web") == ["web-01", "web-02", "web-03"]
    assert within("fact:cpu.count>1") == ["web-02", "web-03"]
    assert within("not db1") == ["web-01", "web-02", "web-03"]


@pytest.mark.parametrize("expr", ["web-04", "web-[01-05]", "db1 or web-12", "all and not web-04"])
def test_names_outside_are_refused(expr: str) -> None:
    with pytest.raises(NotPermittedError, match="outside of your nodes"):
        within(expr)


def test_a_refusal_names_the_nodes() -> None:
    with pytest.raises(NotPermittedError, match=r"^web-\[04-06\] are outside of your nodes \(web-0"):
        within("web-[01-06]")


def test_nothing_is_told_of_other_nodes() -> None:
    with pytest.raises(NoTargetError) as caught:
        within("web-4")
    assert "web-04" not in str(caught.value)
    fleet = small_fleet()
    within("fact:cpu.count>1", fleet)
    assert len(fleet.asked) == 4, "facts of other nodes are not read"


def test_a_node_that_goes_meanwhile_is_no_part_of_the_view() -> None:
    fleet = small_fleet()
    view = RoleScope(["web-*"]).within(fleet)
    del fleet.machines["web-01"]
    assert "web-01" not in set(view.names()) and not view.has("web-01")
    assert "web-01" not in resolve(["all"], view).nodes
    with pytest.raises(NoTargetError, match="no node is named web-01"):
        resolve(["web-01"], view)

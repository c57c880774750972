"""The nodes that a role is for, and a view of the roster that has only these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from director.errors import NotPermittedError
from director.node_sets import fold, natural
from director.targets.evaluate import Evaluator, RosterView
from director.targets.expressions import Everyone, Expr, Fact, Label, TargetSyntaxError, bounded, leaves, shorten
from director.targets.parser import parse


class RoleScope:
    """The nodes that one of some expressions of names and labels covers, online or not.

    Names that no node has are covered by expressions without labels only.

    Args:
        texts: the expressions; None for one that covers every node.

    Raises:
        TargetSyntaxError: an expression cannot be read, or has a fact, as facts are what nodes say of themselves.
    """

    def __init__(self, texts: Iterable[str] | None) -> None:
        self.texts = None if texts is None else tuple(dict.fromkeys(texts))
        self._exprs = [_readable(text) for text in self.texts or ()]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RoleScope) and self.texts == other.texts

    def __hash__(self) -> int:
        return hash(self.texts)

    def __str__(self) -> str:
        return "all" if self.texts is None else shorten(", ".join(self.texts) or "nothing")

    @property
    def is_everything(self) -> bool:
        """Whether it has no bounds."""
        return self.texts is None

    @property
    def label_keys(self) -> frozenset[str]:
        """The names of the labels that decide what is covered."""
        return frozenset(leaf.key for expr in self._exprs for leaf in leaves(expr) if isinstance(leaf, Label))

    @property
    def of_names(self) -> tuple[str, ...]:
        """Its expressions that are made of names alone; none for one that covers every node."""
        return tuple(text for text, expr in zip(self.texts or (), self._exprs, strict=True) if _is_of_names(expr))

    def covered(self, names: Iterable[str], roster: RosterView) -> set[str]:
        """Those of `names` that it covers."""
        names = set(names)
        if self.texts is None:
            return names
        evaluator = Evaluator(_Anyone(roster), {})
        known = {name for name in names if roster.has(name)}
        found = (evaluator.selected(expr, known if _labels_in(expr) else names) for expr in self._exprs)
        return set().union(*found)

    def require(self, names: Iterable[str], roster: RosterView) -> None:
        """Raise NotPermittedError when one of the names is not covered."""
        names = set(names)
        if outside := names - self.covered(names, roster):
            raise outside_error(outside, self)

    def within(self, roster: RosterView) -> RosterView:
        """The part of a roster that it covers."""
        return roster if self.texts is None else Within(roster, self)


EVERYTHING = RoleScope(None)


class Within(RosterView):
    """The nodes of a roster that a scope covers; for all who use it there are no others."""

    def __init__(self, roster: RosterView, scope: RoleScope) -> None:
        self._roster, self._scope = roster, scope
        self._names = scope.covered(roster.names(), roster)

    def names(self) -> Iterable[str]:
        """Every enrolled node that is covered."""
        return filter(self._roster.has, self._names)  # some may be gone: a plan that waits for sources takes long

    def has(self, name: str) -> bool:
        """Whether a covered node of this name is enrolled."""
        return name in self._names and self._roster.has(name)

    def revoked(self, name: str) -> bool:
        """Whether this is the name of a node whose key was revoked."""
        return self._roster.revoked(name)

    def online(self, name: str) -> bool:
        """Whether the node is online now."""
        return self._roster.online(name)

    def labels(self, name: str) -> Mapping[str, str]:
        """The node's labels."""
        return self._roster.labels(name)

    def facts(self, name: str) -> Mapping[str, Any]:
        """The node's facts."""
        return self._roster.facts(name)

    @property
    def remark(self) -> str:
        """What a submitter should know of targets that do not spell out names."""
        return f"targets mean your nodes only: {self._scope}"

    def refuse(self, missing: Sequence[str]) -> None:
        """Raise NotPermittedError when one of these names, which `has` denies, is that of a node."""
        if outside := [name for name in missing if self._roster.has(name) and name not in self._names]:
            raise outside_error(outside, self._scope)


class _Anyone(RosterView):
    """A roster in which every name may be written and everybody counts as online; strangers have no labels."""

    def __init__(self, roster: RosterView) -> None:
        self._roster = roster

    def names(self) -> Iterable[str]:
        """Every enrolled node."""
        return self._roster.names()

    def has(self, name: str) -> bool:
        """Any name may be written."""
        return True

    def revoked(self, name: str) -> bool:
        """Nobody is."""
        return False

    def online(self, name: str) -> bool:
        """Everybody is."""
        return True

    def labels(self, name: str) -> Mapping[str, str]:
        """The node's labels."""
        return self._roster.labels(name)

    def facts(self, name: str) -> Mapping[str, Any]:
        """None count."""
        return {}


def outside_error(names: Iterable[str], scope: RoleScope) -> NotPermittedError:
    """The error that names nodes outside of a scope."""
    names = natural(names)
    are = "is" if len(names) == 1 else "are"
    return NotPermittedError(f"{shorten(fold(names))} {are} outside of your nodes ({scope})")


def _readable(text: str) -> Expr:
    expr = parse(text)
    if any(isinstance(leaf, Fact) for leaf in leaves(expr)):
        raise TargetSyntaxError("facts are what nodes say of themselves; expected names and labels", text, 0)
    return expr


def _is_of_names(expr: Expr) -> bool:
    return bounded(expr) and not any(isinstance(leaf, (Label, Everyone)) for leaf in leaves(expr))


def _labels_in(expr: Expr) -> bool:
    return any(isinstance(leaf, Label) for leaf in leaves(expr))

"""Which nodes of a roster the parts of an expression select."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import director.targets.expressions as expressions
from director.node_sets import natural
from director.targets.expressions import And, Everyone, Expr, Fact, Label, Members, Name, Not, Or, Pattern
from director.targets.fact_matching import fact_fits, fact_values

_Set = set[str]
#: an operand that needs more of the roster is evaluated later, for fewer nodes
_COSTS: dict[type[Expr], int] = {Everyone: 1, Pattern: 2, Label: 3, Fact: 4}


class RosterView(Protocol):
    """The enrolled nodes, without pending and revoked ones."""

    def names(self) -> Iterable[str]:
        """Every enrolled node, in any order."""

    def has(self, name: str) -> bool:
        """Whether a node of this name is enrolled."""

    def revoked(self, name: str) -> bool:
        """Whether this is the name of a node whose key was revoked."""

    def online(self, name: str) -> bool:
        """Whether the node is online now."""

    def labels(self, name: str) -> Mapping[str, str]:
        """The node's labels."""

    def facts(self, name: str) -> Mapping[str, Any]:
        """The node's facts; called only for expressions with facts, as they may have to be parsed."""


class Evaluator:
    """Evaluates parts of expressions against one roster; reads each node's facts at most once.

    Args:
        stages: the nodes of earlier stages, by name; a stage hides a node of the same name.
    """

    def __init__(self, roster: RosterView, stages: Mapping[str, Sequence[str]]) -> None:
        self.roster = roster
        self.stages = stages
        self.facts = cache(roster.facts)
        self._negated = False

    def everybody(self) -> _Set:
        """All enrolled nodes."""
        return set(self.roster.names())

    def online(self, names: Iterable[str]) -> _Set:
        """Those of `names` that are online."""
        return set(filter(self.roster.online, names))

    def is_stage(self, leaf: Expr) -> bool:
        """Whether a leaf is the name of an earlier stage."""
        return isinstance(leaf, Name) and leaf.name in self.stages

    def written(self, leaf: Expr) -> Sequence[str]:
        """The names that a leaf spells out, in order; none for patterns, labels and facts."""
        if isinstance(leaf, Name):
            return self.stages.get(leaf.name, (leaf.name,))
        return leaf.names if isinstance(leaf, Members) else ()

    def missing(self, leaf: Expr) -> list[str]:
        """The names that a leaf spells out and no node has."""
        if self.is_stage(leaf):
            return []
        return [name for name in self.written(leaf) if not self.roster.has(name)]

    def selected(self, expr: Expr, within: _Set) -> _Set:
        """Those of `within` that a whole expression selects: `not Y` alone is `all and not Y`."""
        if expressions.bounded(expr):
            return self.members(expr, within)
        if isinstance(expr, Or):
            return set().union(*(self.selected(part, within) for part in expr.operands))
        return self.members(expr, self.online(within))

    def members(self, expr: Expr, within: _Set) -> _Set:
        """Those of `within` that a part of an expression selects."""
        match expr:
            case Everyone():
                return self.online(within)
            case Pattern():
                return set(filter(expr.matches, within))
            case Label() | Fact():
                # A `not` also excludes nodes that are offline now: otherwise `web-* and not label:keep=yes` would
                # select the nodes to keep, and they would get the job once they are back.
                counted = within if self._negated else self.online(within)
                return {name for name in counted if self.fits(expr, name)}
            case Not():
                self._negated = not self._negated
                excluded = self.members(expr.operand, within)
                self._negated = not self._negated
                return within - excluded
            case And():
                for part in sorted(expr.operands, key=_cost):
                    within = self.members(part, within)
                return within
            case Or():
                return set().union(*(self.members(part, within) for part in expr.operands))
        return within.intersection(self.written(expr))

    def fits(self, expr: Label | Fact, name: str) -> bool:
        """Whether a node's label or fact fits, online or not."""
        if isinstance(expr, Fact):
            return fact_fits(expr, self.facts(name))
        value = self.roster.labels(name).get(expr.key)
        if value is None or expr.value is None:
            return value is not None
        return value == expr.value if expr.matches is None else bool(expr.matches(value))

    def values(self, expr: Label | Fact, name: str) -> list[Any]:
        """The values of a node's label or fact; [] when it has none."""
        if isinstance(expr, Fact):
            return fact_values(self.facts(name), expr.key)
        labels = self.roster.labels(name)
        return [labels[expr.key]] if expr.key in labels else []

    def ordered(self, expr: Expr, found: _Set) -> list[str]:
        """`found`, which `expr` selects, in the order written, else in natural order."""
        match expr:
            case Name() | Members():
                return [name for name in dict.fromkeys(self.written(expr)) if name in found]
            case Or():
                return self._ordered_or(expr, set(found))
            case And() if (leading := _leading(expr)) is not None:
                return self.ordered(leading, found)
        return natural(found)

    def _ordered_or(self, expr: Or, left: _Set) -> list[str]:
        order: list[str] = []
        for part in expr.operands:
            mine = self.selected(part, left)
            left -= mine
            order += self.ordered(part, mine)
        return order + natural(left)

    def unmatched(self, expr: Expr, found: _Set) -> list[str]:
        """The text of the alternatives of `expr` that select none of `found`."""
        if not isinstance(expr, Or):
            return []
        return [part.text for part in expr.operands if not self.selected(part, found)]


def _leading(expr: And) -> Expr | None:
    """The operand that gives the order: the first that spells out names, else the first with operands of its own."""
    parts = [part for part in expr.operands if expressions.bounded(part)]
    spelled = filter(_spells_names, parts)
    return next(spelled, None) or next((part for part in parts if isinstance(part, (Or, And))), None)


def _spells_names(expr: Expr) -> bool:
    return any(isinstance(leaf, (Name, Members)) for leaf in expressions.leaves(expr, negated=False))


def _cost(expr: Expr) -> int:
    return max(_COSTS.get(type(leaf), 0) for leaf in expressions.leaves(expr))

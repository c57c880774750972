"""What the parts of an expression mean against one view of the fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from director.node_sets import natural
from director.targets.expressions import (
    And,
    Everyone,
    Expr,
    Fact,
    Label,
    Members,
    Name,
    Not,
    Or,
    Pattern,
    bounded,
    leaves,
)
from director.targets.fact_matching import fact_fits
from director.targets.roster_view import RosterView

_Set = set[str]


class Evaluator:
    """Answers what parts of expressions mean, against one view of the fleet; facts are read once per node."""

    def __init__(self, roster: RosterView, stages: Mapping[str, Sequence[str]]) -> None:
        self.roster = roster
        self.stages = stages
        self._facts: dict[str, Mapping[str, Any]] = {}
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
        """The names a leaf writes out, in order; none for patterns and the like."""
        if isinstance(leaf, Name):
            return self.stages.get(leaf.name, (leaf.name,))
        return leaf.names if isinstance(leaf, Members) else ()

    def missing(self, leaf: Expr) -> list[str]:
        """The names a leaf writes out that no node has."""
        if self.is_stage(leaf):
            return []
        return [name for name in self.written(leaf) if not self.roster.has(name)]

    def selected(self, expr: Expr, within: _Set) -> _Set:
        """Those of `within` that a whole expression means: `not Y` alone is `all and not Y`."""
        if bounded(expr):
            return self.members(expr, within)
        if isinstance(expr, Or):
            return set().union(*(self.selected(part, within) for part in expr.operands))
        return self.members(expr, self.online(within))

    def members(self, expr: Expr, within: _Set) -> _Set:
        """Those of `within` that a part of an expression means."""
        return _MEMBERS[type(expr)](self, expr, within)

    def _written(self, expr: Expr, within: _Set) -> _Set:
        return within.intersection(self.written(expr))

    def _everyone(self, expr: Everyone, within: _Set) -> _Set:
        return self.online(within)

    def _pattern(self, expr: Pattern, within: _Set) -> _Set:
        return set(filter(expr.matches, within))

    def _asked(self, within: _Set) -> _Set:
        """Whose labels and facts count: nodes online now; what is excluded stays so while it is offline.

        Otherwise `web-* and not label:keep=yes` would reach the nodes to be kept, once they are back.
        """
        return within if self._negated else self.online(within)

    def _label(self, expr: Label, within: _Set) -> _Set:
        return {name for name in self._asked(within) if self.label_fits(expr, name)}

    def _fact(self, expr: Fact, within: _Set) -> _Set:
        return {name for name in self._asked(within) if fact_fits(expr, self.facts(name))}

    def _not(self, expr: Not, within: _Set) -> _Set:
        self._negated = not self._negated
        excluded = self.members(expr.operand, within)
        self._negated = not self._negated
        return within - excluded

    def _and(self, expr: And, within: _Set) -> _Set:
        for part in sorted(expr.operands, key=_cost):
            within = self.members(part, within)
        return within

    def _or(self, expr: Or, within: _Set) -> _Set:
        return set().union(*(self.members(part, within) for part in expr.operands))

    def label_fits(self, expr: Label, name: str) -> bool:
        """Whether a node has the label, online or not."""
        value = self.roster.labels(name).get(expr.key)
        if value is None or expr.value is None:
            return value is not None
        return value == expr.value if expr.matches is None else bool(expr.matches(value))

    def facts(self, name: str) -> Mapping[str, Any]:
        """A node's facts."""
        facts = self._facts.get(name)
        if facts is None:
            facts = self._facts[name] = self.roster.facts(name)
        return facts

    def ordered(self, expr: Expr, found: _Set) -> list[str]:
        """`found`, which `expr` means, in the order written, else in natural order."""
        if isinstance(expr, (Name, Members)):
            return [name for name in dict.fromkeys(self.written(expr)) if name in found]
        if isinstance(expr, Or):
            return self._ordered_or(expr, set(found))
        if isinstance(expr, And):
            leading = _leading(expr)
            return self.ordered(leading, found) if leading is not None else natural(found)
        return natural(found)

    def _ordered_or(self, expr: Or, left: _Set) -> list[str]:
        order: list[str] = []
        for part in expr.operands:
            mine = self.selected(part, left)
            left -= mine
            order += self.ordered(part, mine)
        return order + natural(left)

    def unmatched(self, expr: Expr, found: _Set) -> list[str]:
        """The text of the alternatives of `expr` that mean none of `found`."""
        if not isinstance(expr, Or):
            return []
        return [part.text for part in expr.operands if not self.selected(part, found)]


def _leading(expr: And) -> Expr | None:
    """The operand whose order counts: the first that writes names out, else the first alternatives."""
    parts = [part for part in expr.operands if bounded(part)]
    spelled = (part for part in parts if any(isinstance(leaf, (Name, Members)) for leaf in _positive(part)))
    return next(spelled, None) or next((part for part in parts if isinstance(part, (Or, And))), None)


def _positive(expr: Expr) -> Iterable[Expr]:
    """The leaves that are not under a `not`."""
    if isinstance(expr, Not):
        return ()
    if isinstance(expr, (And, Or)):
        return [leaf for part in expr.operands for leaf in _positive(part)]
    return (expr,)


def _cost(expr: Expr) -> int:
    """What asks more of the roster comes later, so that it is asked of fewer nodes."""
    return max(_COSTS.get(type(leaf), 0) for leaf in leaves(expr))


_COSTS: dict[type[Expr], int] = {Everyone: 1, Pattern: 2, Label: 3, Fact: 4}
_MEMBERS: dict[type[Expr], Callable[[Evaluator, Any, _Set], _Set]] = {
    Name: Evaluator._written,
    Members: Evaluator._written,
    Everyone: Evaluator._everyone,
    Pattern: Evaluator._pattern,
    Label: Evaluator._label,
    Fact: Evaluator._fact,
    Not: Evaluator._not,
    And: Evaluator._and,
    Or: Evaluator._or,
}

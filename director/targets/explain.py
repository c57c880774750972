"""Says why a node is not meant by an expression, for `--plan`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from director.targets.evaluate import Evaluator
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
    shorten,
)
from director.targets.fact_matching import fact_values
from director.targets.parser import parse
from director.targets.roster_view import RosterView

_SHOWN = 3


def explain(expr: Expr | str, roster: RosterView, stages: Mapping[str, Sequence[str]] | None = None) -> dict[str, str]:
    """The reason for each enrolled node that the expression does not mean, by name.

    Raises:
        TargetSyntaxError: the expression cannot be read.
    """
    expr = parse(expr) if isinstance(expr, str) else expr
    sight = Evaluator(roster, stages or {})
    everybody = sight.everybody()
    return {name: _reason(expr, name, sight) for name in sorted(everybody - sight.selected(expr, everybody))}


def why_not(expr: Expr | str, roster: RosterView, name: str, stages: Mapping[str, Sequence[str]] | None = None) -> str:
    """Why the expression does not mean this enrolled node; "" when it does."""
    expr = parse(expr) if isinstance(expr, str) else expr
    sight = Evaluator(roster, stages or {})
    return "" if sight.selected(expr, {name}) else _reason(expr, name, sight)


def _reason(expr: Expr, name: str, sight: Evaluator) -> str:
    if not bounded(expr) and not isinstance(expr, Or) and not sight.roster.online(name):
        return f"offline ({shorten(expr.text)} means nodes online now)"
    return _REASONS[type(expr)](expr, name, sight)


def _not_written(expr: Expr, name: str, sight: Evaluator) -> str:
    return f"not one of {shorten(expr.text)}" if isinstance(expr, Members) else f"is not {shorten(expr.text)}"


def _pattern(expr: Expr, name: str, sight: Evaluator) -> str:
    return f"does not match {shorten(expr.text)}"


def _everyone(expr: Expr, name: str, sight: Evaluator) -> str:
    return "offline (all means nodes online now)"


def _label(expr: Label, name: str, sight: Evaluator) -> str:
    if not sight.roster.online(name):
        return "offline (labels mean nodes online now)"
    value = sight.roster.labels(name).get(expr.key)
    return f"has no label {expr.key}" if value is None else f"label {expr.key} is {shorten(value, 60)}"


def _fact(expr: Fact, name: str, sight: Evaluator) -> str:
    if not sight.roster.online(name):
        return "offline (facts mean nodes online now)"
    values = ", ".join(str(value) for value in fact_values(sight.facts(name), expr.path))
    return f"fact {expr.path} is {shorten(values, 60)}" if values else f"has no fact {expr.path}"


def _not(expr: Not, name: str, sight: Evaluator) -> str:
    return f"excluded by {shorten(expr.text)}"


def _and(expr: And, name: str, sight: Evaluator) -> str:
    failing = next((part for part in expr.operands if not sight.members(part, {name})), expr.operands[0])
    return _REASONS[type(failing)](failing, name, sight)


def _or(expr: Or, name: str, sight: Evaluator) -> str:
    reasons = list(dict.fromkeys(_reason(part, name, sight) for part in expr.operands[: _SHOWN + 1]))
    more = "; and so on" if len(expr.operands) > _SHOWN else ""
    return "; ".join(reasons[:_SHOWN]) + more


_REASONS: dict[type[Expr], Callable[[Any, str, Evaluator], str]] = {
    Name: _not_written,
    Members: _not_written,
    Pattern: _pattern,
    Everyone: _everyone,
    Label: _label,
    Fact: _fact,
    Not: _not,
    And: _and,
    Or: _or,
}

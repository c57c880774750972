"""Why an expression does not select a node, for `--plan`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from director.targets.evaluate import Evaluator
from director.targets.expressions import (
    And,
    Everyone,
    Expr,
    Fact,
    Label,
    Members,
    Not,
    Or,
    Pattern,
    bounded,
    shorten,
)
from director.targets.parser import parse
from director.targets.roster_view import RosterView

_SHOWN = 3


def explain(text: str, roster: RosterView, stages: Mapping[str, Sequence[str]] | None = None) -> dict[str, str]:
    """The reason for each enrolled node that the expression does not select, by name.

    Raises:
        TargetSyntaxError: the expression cannot be read.
    """
    expr = parse(text)
    evaluator = Evaluator(roster, stages or {})
    everybody = evaluator.everybody()
    return {name: _reason(expr, name, evaluator) for name in sorted(everybody - evaluator.selected(expr, everybody))}


def _reason(expr: Expr, name: str, evaluator: Evaluator) -> str:
    if not bounded(expr) and not isinstance(expr, Or) and not evaluator.roster.online(name):
        return f"offline ({shorten(expr.text)} means nodes online now)"
    return _reason_of_part(expr, name, evaluator)


def _reason_of_part(expr: Expr, name: str, evaluator: Evaluator) -> str:
    match expr:
        case Members():
            return f"not one of {shorten(expr.text)}"
        case Pattern():
            return f"does not match {shorten(expr.text)}"
        case Everyone():
            return "offline (all means nodes online now)"
        case Label() | Fact():
            return _reason_of_value(expr, name, evaluator)
        case Not():
            return f"excluded by {shorten(expr.text)}"
        case And(_, parts):
            failing = next((part for part in parts if not evaluator.members(part, {name})), parts[0])
            return _reason_of_part(failing, name, evaluator)
        case Or(_, parts):
            reasons = list(dict.fromkeys(_reason(part, name, evaluator) for part in parts[: _SHOWN + 1]))
            return "; ".join(reasons[:_SHOWN]) + ("; and so on" if len(parts) > _SHOWN else "")
    return f"is not {shorten(expr.text)}"


def _reason_of_value(expr: Label | Fact, name: str, evaluator: Evaluator) -> str:
    if not evaluator.roster.online(name):
        return f"offline ({expr.kind}s mean nodes online now)"
    values = evaluator.values(expr, name)
    if not values:
        return f"has no {expr.kind} {expr.key}"
    return f"{expr.kind} {expr.key} is {shorten(', '.join(map(str, values)), 60)}"

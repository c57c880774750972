"""Resolves target expressions to nodes, in the order written, or raises an error that names similar nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from director.errors import NoTargetError
from director.targets.evaluate import Evaluator, RosterView
from director.targets.explain import nothing_matches, unknown_names
from director.targets.expressions import Everyone, Expr, leaves
from director.targets.parser import parse


@dataclass(frozen=True, slots=True)
class Resolved:
    """The nodes that expressions select.

    Attributes:
        nodes: each once, in the order written; in natural order where no order was written.
        unmatched: the text of each alternative (joined by `or` or a comma) that selects no node.
    """

    nodes: list[str]
    unmatched: list[str] = field(default_factory=list)


def resolve(
    exprs: Sequence[str],
    roster: RosterView,
    stages: Mapping[str, Sequence[str]] | None = None,
    may_be_empty: bool = False,
) -> Resolved:
    """The union of the expressions; without any, every node online now.

    Args:
        exprs: as written.
        roster: the enrolled nodes.
        stages: the nodes of earlier stages, by name; a stage hides a node of the same name and may have no nodes.
        may_be_empty: whether an expression may select nothing.

    Raises:
        TargetSyntaxError: an expression cannot be read.
        NoTargetError: a name is unknown, or an expression selects nothing.
    """
    evaluator = Evaluator(roster, stages or {})
    nodes: dict[str, None] = {}
    unmatched: list[str] = []
    for expr in [parse(text) for text in exprs] or [Everyone("all")]:
        found = _selected(expr, evaluator, may_be_empty)
        unmatched += evaluator.unmatched(expr, found)
        nodes.update(dict.fromkeys(evaluator.ordered(expr, found)))
    return Resolved(list(nodes), unmatched)


def _selected(expr: Expr, evaluator: Evaluator, may_be_empty: bool) -> set[str]:
    for leaf in leaves(expr):
        missing = evaluator.missing(leaf)
        if missing:
            raise NoTargetError(unknown_names(leaf, missing, evaluator.roster))
    found = evaluator.selected(expr, evaluator.everybody())
    if not found and not may_be_empty and not any(evaluator.is_stage(leaf) for leaf in leaves(expr)):
        raise NoTargetError(nothing_matches(expr, evaluator))
    return found

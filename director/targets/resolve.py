"""Settles expressions: which enrolled nodes they mean now, in the order written, or an error that helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from director.errors import NoTargetError
from director.targets.evaluate import Evaluator
from director.targets.expressions import Everyone, Expr, leaves
from director.targets.parser import parse
from director.targets.roster_view import RosterView
from director.targets.suggest import nothing_matches, unknown_names

EVERYONE = Everyone("all")


@dataclass(frozen=True, slots=True)
class Settled:
    """What expressions came to.

    Attributes:
        nodes: each once; in the order written, where nothing was written in natural order.
        unmatched: the text of alternatives (joined by `or` or a comma) that matched no node.
        offline: those of `nodes` that are offline now.
    """

    nodes: list[str]
    unmatched: list[str] = field(default_factory=list)
    offline: list[str] = field(default_factory=list)


def settle(
    exprs: Sequence[str],
    roster: RosterView,
    stages: Mapping[str, Sequence[str]] | None = None,
    may_be_empty: bool = False,
) -> Settled:
    """The union of the expressions; none of them means every node online now.

    Args:
        exprs: as written.
        roster: the fleet now.
        stages: nodes by name of an earlier stage; such a name beats a node's. A stage without nodes is no
            error here.
        may_be_empty: whether an expression may match nothing.

    Raises:
        TargetSyntaxError: an expression cannot be read.
        NoTargetError: a name is unknown, or an expression matches nothing.
    """
    sight = Evaluator(roster, stages or {})
    nodes: dict[str, None] = {}
    unmatched: list[str] = []
    for expr in [parse(text) for text in exprs] or [EVERYONE]:
        found = _settle_one(expr, sight, may_be_empty)
        unmatched += sight.unmatched(expr, found)
        nodes.update(dict.fromkeys(sight.ordered(expr, found)))
    return Settled(list(nodes), unmatched, [name for name in nodes if not roster.online(name)])


def _settle_one(expr: Expr, sight: Evaluator, may_be_empty: bool) -> set[str]:
    for leaf in leaves(expr):
        missing = sight.missing(leaf)
        if missing:
            raise NoTargetError(unknown_names(leaf, missing, sight.roster))
    found = sight.selected(expr, sight.everybody())
    if not found and not may_be_empty and not any(sight.is_stage(leaf) for leaf in leaves(expr)):
        raise NoTargetError(nothing_matches(expr, sight))
    return found

"""Resolves target expressions to nodes, in the order written, or raises an error that names similar nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from director.errors import NoTargetError
from director.targets.evaluate import Evaluator, RosterView
from director.targets.explain import nothing_matches, unknown_names
from director.targets.expressions import Everyone, Expr, Members, Name, leaves
from director.targets.parser import parse
from director.targets.role_scope import Within


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
        NotPermittedError: a name is that of a node outside of the scope that the roster is a view of.
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
            if isinstance(evaluator.roster, Within):
                evaluator.roster.refuse(missing)
            raise NoTargetError(unknown_names(leaf, missing, evaluator.roster))
    found = evaluator.selected(expr, evaluator.everybody())
    if not found and not may_be_empty and not any(evaluator.is_stage(leaf) for leaf in leaves(expr)):
        raise NoTargetError(nothing_matches(expr, evaluator))
    return found


class _OneName(RosterView):
    """A view in which every name is known and one of them is asked about; it has no labels and no facts."""

    def __init__(self, name: str) -> None:
        self._name = name

    def names(self) -> Iterable[str]:
        """The name asked about."""
        return (self._name,)

    def has(self, name: str) -> bool:
        """Any plain name may be written."""
        return True

    def revoked(self, name: str) -> bool:
        """Nobody is."""
        return False

    def online(self, name: str) -> bool:
        """Nobody is."""
        return False

    def labels(self, name: str) -> Mapping[str, str]:
        """None."""
        return {}

    def facts(self, name: str) -> Mapping[str, object]:
        """None."""
        return {}


def spelled_out(expr: str) -> list[str]:
    """The names that an expression spells out, those under a `not` too. Raises TargetSyntaxError."""
    evaluator = Evaluator(_OneName(""), {})
    return [name for leaf in leaves(parse(expr)) for name in evaluator.written(leaf)]


def is_spelled_out(expr: str) -> bool:
    """Whether an expression only spells out names. Raises TargetSyntaxError."""
    return all(isinstance(leaf, (Name, Members)) for leaf in leaves(parse(expr)))


def names_match(expr: str, name: str) -> bool:
    """Whether an expression of names, sets, globs and regexes selects `name`, which need not be a node.

    Raises:
        TargetSyntaxError: the expression cannot be read.
    """
    return name in resolve([expr], _OneName(name), may_be_empty=True).nodes

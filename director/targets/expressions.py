"""The parts of a target expression, as frozen values; each keeps the text it was read from."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from director.errors import UsageError

Matches = Callable[[str], object]  # true for a text that fits as a whole


class TargetSyntaxError(UsageError, ValueError):
    """An expression that cannot be read.

    Args:
        problem: what is wrong and what was expected.
        text: the whole expression.
        position: 0-based offset of the mistake in `text`.
    """

    def __init__(self, problem: str, text: str, position: int) -> None:
        self.problem = problem
        self.text = text
        self.position = position
        super().__init__(f"target `{shorten(text)}`, character {position + 1}: {problem}")


def shorten(text: str, most: int = 120) -> str:
    """`text` as one line, with its middle left out when it is long; for messages."""
    if not text.isprintable():
        text = ascii(text)[1:-1]
    if len(text) <= most:
        return text
    half = (most - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


@dataclass(frozen=True, slots=True)
class Expr:
    """Base of all parts; `text` is the part as written."""

    text: str


@dataclass(frozen=True, slots=True)
class Everyone(Expr):
    """`all`: every node online now."""


@dataclass(frozen=True, slots=True)
class Name(Expr):
    """A plain name of a node, or of an earlier stage."""

    name: str


@dataclass(frozen=True, slots=True)
class Members(Expr):
    """The names of a folded set, in the order written."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pattern(Expr):
    """A glob or a regex; `matches` takes a whole name."""

    matches: Matches = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Label(Expr):
    """`label:key=value`, or `label:key` (value None) for any value; `matches` where the value is a glob or regex."""

    kind: ClassVar[str] = "label"
    key: str
    value: str | None
    matches: Matches | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Fact(Expr):
    """A fact compared with a value.

    Attributes:
        key: the fact's path, with dots.
        number: the value as a number, units applied; None when it is none.
        matches: for `=` and `!=` with a glob, a regex or a subnet.
    """

    kind: ClassVar[str] = "fact"
    key: str
    operator: str
    value: str
    number: int | float | None
    matches: Matches | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Not(Expr):
    """Nodes that the operand does not select."""

    operand: Expr


@dataclass(frozen=True, slots=True)
class And(Expr):
    """Nodes that all operands select."""

    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Or(Expr):
    """Nodes that any operand selects."""

    operands: tuple[Expr, ...]


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct parts of an expression, none for a leaf."""
    if isinstance(expr, Not):
        return (expr.operand,)
    return expr.operands if isinstance(expr, (And, Or)) else ()


def leaves(expr: Expr, negated: bool = True) -> Iterator[Expr]:
    """The leaves in the order written; without `negated` only those that are not under a `not`."""
    parts = children(expr)
    if not parts:
        yield expr
    elif negated or not isinstance(expr, Not):
        for part in parts:
            yield from leaves(part, negated)


def bounded(expr: Expr) -> bool:
    """Whether the expression has a part without `not`; `not Y` alone has none: it means `all and not Y`."""
    if isinstance(expr, Not):
        return False
    if isinstance(expr, And):
        return any(map(bounded, expr.operands))
    return all(map(bounded, expr.operands)) if isinstance(expr, Or) else True


_PROBES = ("a", "0", "zz-9.Q")  # names with nothing in common


def chosen_by_facts(expr: Expr, stages: Container[str] = ()) -> bool:
    """Whether what a node says of itself can bring it among the selected nodes, whatever its name and labels are.

    `label:tier=db and fact:os.id=debian` only narrows a label by a fact; `fact:os.id=debian` alone chooses by it, as
    does `all and not fact:os.id=debian`.

    Args:
        stages: earlier stages whose nodes are chosen so.
    """
    if isinstance(expr, Or):
        return any(chosen_by_facts(part, stages) for part in expr.operands)
    says = any(isinstance(leaf, Fact) or (isinstance(leaf, Name) and leaf.name in stages) for leaf in leaves(expr))
    return says and not _confined(expr, stages)


def _confined(expr: Expr, stages: Container[str]) -> bool:
    """Whether all that it can select have names or labels that it spells out."""
    if isinstance(expr, (And, Or)):
        return (any if isinstance(expr, And) else all)(_confined(part, stages) for part in expr.operands)
    if isinstance(expr, Name):
        return expr.name not in stages
    if isinstance(expr, Pattern):  # one that any name matches confines nothing
        return not all(map(expr.matches, _PROBES))
    return isinstance(expr, (Members, Label))


_UNIT = re.compile(r"(-?[0-9]{1,30}(?:\.[0-9]{1,30})?)(?:([KMGTPE])(?:i?B)?|B)?", re.IGNORECASE)
_POWER = {unit: 1024**power for power, unit in enumerate("KMGTPE", 1)}


def number_of(text: str) -> int | float | None:
    """`8G` as 8589934592 (units are powers of 1024: K M G T P E, also KiB, KB); None when it is no number."""
    match = _UNIT.fullmatch(text)
    if match is None:
        return None
    digits, unit = match.groups()
    number = float(digits) if "." in digits else int(digits)
    return number * _POWER[unit.upper()] if unit else number

"""Which values are relayed, that is made of what other nodes said, and which expressions print such values.

A template is judged from its syntax tree and by names alone: a name that may have a relayed value in one place counts
as relayed in the whole template, so no filter, macro or order of statements hides where a value comes from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

QUERY = "query"
SECRET = "secret"
QUOTE, CODE = "quote", "shell_code"
ALLOWED = "letters, digits, blanks and _ @ % + = : , . / -"
WAYS_OUT = 'write {{ … | quote }} outside of quotes, or set ENV X={{ … }} and write "$X"'
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9 \t_@%+=:,./-]")
#: names with which a template reaches what it printed elsewhere
_OWN_OUTPUT = frozenset(("self", "super"))
Binding = tuple[set[str], "set[str] | None"]  # names that get a value; the names it is made of, None for unknown


class Relayed(str):
    """The text of an ARG or ENV that is made of what other nodes said."""

    __slots__ = ()


def made_of(text: str, *parts: str | None) -> str:
    """`text`, relayed if one of the texts it is made of is."""
    return Relayed(text) if any(isinstance(part, Relayed) for part in parts) else text


def fault(text: str, names: str) -> str:
    """Why a shell's text cannot have this relayed value, which is made of `names`; "" when it can."""
    found = _NOT_PLAIN.search(text)
    if found is None:
        return ""
    return (
        f"a value made of what other nodes said ({names}) has {found.group()!r}; in a shell's text it may have only "
        f"{ALLOWED}; {WAYS_OUT}, or {{{{ … | {CODE} }}}} if it is meant as code"
    )


def relayed_names(tree: Any, given: Collection[str]) -> frozenset[str]:
    """All names of a template that may have relayed values; none when it uses no name of `given`.

    Args:
        tree: of Jinja.
        given: the names whose values are relayed before the template begins.
    """
    if _reads([tree]).isdisjoint(given):
        return frozenset()
    found = {*given, *_OWN_OUTPUT}
    left = list(_bindings(tree))
    while True:
        reached = [names for names, reads in left if reads is None or not reads.isdisjoint(found)]
        left = [(names, reads) for names, reads in left if reads is not None and reads.isdisjoint(found)]
        if not reached:
            return frozenset(found)
        found.update(*reached)


def relayed_in(printed: Any, names: Collection[str]) -> str:
    """The names with relayed values that an expression, or a block that is printed, uses; "" when it is quoted."""
    if kind(printed) == "CondExpr":
        branches = [branch for branch in (printed.expr1, printed.expr2) if branch is not None]
        return next(filter(None, (relayed_in(branch, names) for branch in branches)), "")
    outermost = printed.filter if kind(printed) == "FilterBlock" else printed
    return "" if _is_quoted(outermost) else ", ".join(sorted(_reads([printed]) & set(names)))


def uses_quote(printed: Any) -> bool:
    """Whether an expression has the filter `quote`, also as `map('quote')`."""
    return any(kind(node) == "Filter" and (node.name == QUOTE or _maps_quote(node)) for node in walk(printed))


def kind(node: Any) -> str:
    """The name of a node's class; the library is not imported here."""
    return type(node).__name__


def walk(node: Any) -> Iterator[Any]:
    """The node and all below it."""
    yield node
    for child in node.iter_child_nodes():
        yield from walk(child)


def _is_quoted(expression: Any) -> bool:
    """Whether what it prints is quoted for a shell, or declared as code."""
    if kind(expression) != "Filter":
        return False
    if expression.name in (QUOTE, CODE):
        return True
    between = _constants(expression)
    if expression.name != "join" or between is None or any(_NOT_PLAIN.search(str(text)) for text in between):
        return False
    return _maps_quote(expression.node)


def _maps_quote(node: Any) -> bool:
    """Whether it is `… | map('quote')`."""
    return kind(node) == "Filter" and node.name == "map" and _constants(node) == [QUOTE]


def _constants(filtered: Any) -> list[Any] | None:
    """The arguments of a filter; None when one is no constant or has a name."""
    if filtered.kwargs or filtered.dyn_args or filtered.dyn_kwargs:
        return None
    constant = all(kind(arg) == "Const" for arg in filtered.args)
    return [arg.value for arg in filtered.args] if constant else None


def _reads(nodes: Iterable[Any]) -> set[str]:
    """The names whose values are used."""
    return {node.name for top in nodes for node in walk(top) if kind(node) == "Name" and node.ctx == "load"}


def _sets(target: Any) -> set[str]:
    return {node.name for node in walk(target) if kind(node) == "Name"}


def _bindings(tree: Any) -> Iterator[Binding]:
    """What each statement gives a value to, and of what."""
    for node in walk(tree):
        if kind(node) == "NSRef":  # any other name may stand for the same namespace
            yield {"namespace"}, None
        elif kind(node) in _BINDINGS:
            yield from _BINDINGS[kind(node)](node)


def _of_loop(node: Any) -> Iterator[Binding]:
    """A recursive loop is called with other lists too."""
    yield {*_sets(node.target), "loop"}, None if node.recursive else _reads([node.iter])


def _of_import(node: Any) -> Iterator[Binding]:
    names = [node.target] if kind(node) == "Import" else node.names
    yield {name if isinstance(name, str) else name[1] for name in names}, None


_BINDINGS = {
    "Assign": lambda node: [(_sets(node.target), _reads([node.node]))],
    "AssignBlock": lambda node: [(_sets(node.target), _reads(node.iter_child_nodes(exclude=("target",))))],
    "For": _of_loop,
    "With": lambda node: [
        (_sets(target), _reads([value])) for target, value in zip(node.targets, node.values, strict=True)
    ],
    "Macro": lambda node: [({node.name}, _reads([*node.defaults, *node.body]))],
    "Import": _of_import,
    "FromImport": _of_import,
}

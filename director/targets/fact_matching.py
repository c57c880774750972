"""Compares facts with an expression: numbers as numbers, addresses by subnet, lists by any element."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from director.node_sets import number_first
from director.targets.expressions import Fact

_SUBNET = re.compile(r"[0-9A-Fa-f:.]{1,100}/[0-9]{1,3}")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def fact_fits(expr: Fact, facts: Mapping[str, Any]) -> bool:
    """Whether a node with these facts is selected; an absent fact fits nothing, not even `!=`."""
    return any(_fits(expr, value) for value in fact_values(facts, expr.key))


def fact_values(facts: Mapping[str, Any], path: str) -> list[Any]:
    """The values at a dotted path: each element of a list, else the one value; [] when absent."""
    value: Any = facts
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return []
        value = value[part]
    if isinstance(value, (list, tuple)):
        return [element for element in value if not isinstance(element, (Mapping, list))]
    return [] if value is None or isinstance(value, Mapping) else [value]


def subnet(text: str) -> Callable[[str], object] | None:
    """A function that is true for the addresses in a subnet as `192.0.2.0/24`; None when `text` is none."""
    if not _SUBNET.fullmatch(text):
        return None
    import ipaddress

    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None

    def contains(value: str) -> bool:
        try:
            return ipaddress.ip_address(value) in network
        except ValueError:
            return value == text

    return contains


def _fits(expr: Fact, value: Any) -> bool:
    compare = _OPERATORS[expr.operator]
    if isinstance(value, bool):
        value = "true" if value else "false"
    if expr.matches is not None:
        return bool(expr.matches(str(value))) == (expr.operator == "=")
    if isinstance(value, (int, float)):
        # a number is never less or more than a word, only different from it
        return expr.operator == "!=" if expr.number is None else compare(value, expr.number)
    if expr.operator in ("=", "!="):
        return compare(str(value), expr.value)
    return compare(number_first(str(value)), number_first(expr.value))

"""What a user gets to know of nodes that are not selected: the reason for `--plan`, and names that come close."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import director.targets.expressions as expressions
from director.node_sets import fold, natural
from director.targets.evaluate import Evaluator, RosterView
from director.targets.expressions import And, Everyone, Expr, Fact, Label, Members, Name, Not, Or, Pattern, shorten
from director.targets.parser import parse

SHOWN = 3
_COMPARED = 3_000  # names; of more, only those that begin alike
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_WORDS = re.compile(r"[^\s,()]+")
_OURS = ("~", "label:", "fact:")
_IMAGE = re.compile(r"scratch|[A-Za-z0-9][\w.-]*(?:/|:|@[A-Za-z0-9])\S*")


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
    if not expressions.bounded(expr) and not isinstance(expr, Or) and not evaluator.roster.online(name):
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
            reasons = list(dict.fromkeys(_reason(part, name, evaluator) for part in parts[: SHOWN + 1]))
            return "; ".join(reasons[:SHOWN]) + ("; and so on" if len(parts) > SHOWN else "")
    return f"is not {shorten(expr.text)}"


def _reason_of_value(expr: Label | Fact, name: str, evaluator: Evaluator) -> str:
    if not evaluator.roster.online(name):
        return f"offline ({expr.kind}s mean nodes online now)"
    values = evaluator.values(expr, name)
    if not values:
        return f"has no {expr.kind} {expr.key}"
    return f"{expr.kind} {expr.key} is {shorten(', '.join(map(str, values)), 60)}"


def unknown_names(leaf: Expr, missing: list[str], roster: RosterView) -> str:
    """The message for names that no node has, with those that come close."""
    within = "" if isinstance(leaf, Name) else f" (of {shorten(leaf.text)})"
    revoked = [name for name in missing if roster.revoked(name)]
    if revoked:
        what = f"{shorten(fold(revoked))}{within} {'is' if len(revoked) == 1 else 'are'} revoked"
        return f"{what} and can be no target; director --renew-node opens a name for a new key"
    what = shorten(fold(missing))
    return f"no node is named {what}{within}{_close(missing, roster)}"


def _close(missing: list[str], roster: RosterView) -> str:
    names = list(roster.names())
    if not names:
        return "; no node is enrolled"
    near = dict.fromkeys(name for wrong in missing[:SHOWN] for name in close_names(wrong, names))
    return f"; close: {', '.join(list(near)[:SHOWN])}" if near else f"; enrolled: {shorten(fold(names))}"


def close_names(wrong: str, names: Iterable[str], cutoff: float = 0.7) -> list[str]:
    """At most SHOWN of `names` that come close to `wrong`, the most similar first."""
    names = list(names)
    same = natural(name for name in names if _core(name) == _core(wrong))
    near = natural(name for name in names if name.startswith(wrong + ".") or wrong.startswith(name + "."))
    if len(names) > _COMPARED:
        names = [name for name in names if name[:2].lower() == wrong[:2].lower()][:_COMPARED]
    alike = get_close_matches(wrong, names, SHOWN, cutoff)
    return list(dict.fromkeys((*same, *near, *alike)))[:SHOWN]


def _core(name: str) -> str:
    """A name without case, separators and leading zeros."""
    parts = name.lower().replace("_", "-").replace(".", "-").split("-")
    return "".join(part.lstrip("0") for part in parts)


def nothing_matches(expr: Expr, evaluator: Evaluator) -> str:
    """The message for an expression that selects no node: how many each part selects, or what comes close."""
    if not any(True for _ in evaluator.roster.names()):
        return f"{shorten(expr.text)} matches no node; no node is enrolled"
    if isinstance(expr, And):
        return f"{shorten(expr.text)} matches no node: {_parts(expr, evaluator)}"
    return f"{shorten(expr.text)} matches no node{_hint(expr, evaluator)}"


def _parts(expr: And, evaluator: Evaluator) -> str:
    counts = []
    for part in expr.operands[:5]:
        found = evaluator.members(part, evaluator.everybody())
        hint = "" if found or isinstance(part, Not) else _hint(part, evaluator)
        counts.append(f"{shorten(part.text, 60)} matches {len(found)}{hint}")
    return "; ".join(counts)


def _hint(expr: Expr, evaluator: Evaluator) -> str:
    everybody = evaluator.everybody()
    offline = everybody - evaluator.online(everybody)
    if isinstance(expr, Pattern):
        word = "".join(sign for sign in expr.text.lstrip("~") if sign.isalnum() or sign in "._-")
        near = close_names(word, evaluator.roster.names(), 0.5)
        return f"; close: {', '.join(near)}" if near else f"; enrolled: {shorten(fold(everybody))}"
    if isinstance(expr, (Label, Fact)):
        return f" online now{_hint_values(expr, offline, evaluator)}"
    if expressions.children(expr):
        return ""
    return f" online now ({len(offline)} offline: {shorten(fold(offline))})" if offline else " online now"


def _hint_values(expr: Label | Fact, offline: set[str], evaluator: Evaluator) -> str:
    """The offline nodes that would fit, else the values that the label or fact has, else the names there are."""
    fitting = [name for name in offline if evaluator.fits(expr, name)]
    if fitting:
        return f"; offline: {shorten(fold(fitting))}"
    values: Counter[str] = Counter()
    keys: Counter[str] = Counter()
    for name in evaluator.everybody():
        keys.update((evaluator.roster.labels(name) if isinstance(expr, Label) else evaluator.facts(name)).keys())
        values.update(map(str, evaluator.values(expr, name)))
    if values:
        return f"; {expr.kind} {expr.key} is {_most(values)}"
    if isinstance(expr, Fact) and (parts := _parts_of_fact(expr, evaluator)):
        return f"; fact {expr.key} has the parts {', '.join(f'{expr.key}.{part}' for part in parts)}"
    return f"; no node has the {expr.kind} {expr.key}" + (f", only {_most(keys)}" if keys else "")


def _parts_of_fact(expr: Fact, evaluator: Evaluator) -> list[str]:
    """The names below a fact that is a mapping, of the first node that has it; at most eight."""
    for name in evaluator.everybody():
        value: Any = evaluator.facts(name)
        for part in expr.key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping):
            return [str(key) for key in value][:8]
    return []


def _most(values: Counter[str]) -> str:
    common = [shorten(value, 40) for value, _ in values.most_common(8)]
    return ", ".join(common) + (", ..." if len(values) > len(common) else "")


def looks_like_image(text: str) -> bool:
    """Whether a word of a FROM reads as a container image: `scratch`, `debian:12`, `a/b`, `x@sha256:…`."""
    words = _WORDS.findall(_QUOTED.sub("x", text))
    return any(_IMAGE.fullmatch(word) for word in words if not word.startswith(_OURS))

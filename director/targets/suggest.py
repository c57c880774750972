"""Messages for targets that select nothing, with names that come close."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches

from director.node_sets import fold, natural
from director.targets.evaluate import Evaluator
from director.targets.expressions import And, Expr, Fact, Label, Name, Not, Pattern, children, shorten
from director.targets.roster_view import RosterView

SHOWN = 3
_COMPARED = 3_000  # names; of more, only those that begin alike


def unknown_names(leaf: Expr, missing: list[str], roster: RosterView) -> str:
    """The message for names that no node has, with those that come close."""
    what = shorten(fold(missing))
    within = "" if isinstance(leaf, Name) else f" (of {shorten(leaf.text)})"
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
    if children(expr):
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
    return f"; no node has the {expr.kind} {expr.key}" + (f", only {_most(keys)}" if keys else "")


def _most(values: Counter[str]) -> str:
    common = [shorten(value, 40) for value, _ in values.most_common(8)]
    return ", ".join(common) + (", ..." if len(values) > len(common) else "")

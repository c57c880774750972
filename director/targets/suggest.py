"""What came close when a target matched nothing, said in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from director.node_sets import fold, natural
from director.targets.evaluate import Evaluator
from director.targets.expressions import And, Expr, Fact, Label, Name, Not, Pattern, children, shorten
from director.targets.fact_matching import fact_fits, fact_values
from director.targets.roster_view import RosterView

SHOWN = 3
_COMPARED = 3_000


def unknown_names(leaf: Expr, missing: list[str], roster: RosterView) -> str:
    """The message for names that no node has, with the ones that come close."""
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
    """At most SHOWN of `names` that `wrong` may have meant, the likeliest first."""
    names = list(names)
    same = natural(name for name in names if _bones(name) == _bones(wrong))
    near = natural(name for name in names if name.startswith(wrong + ".") or wrong.startswith(name + "."))
    if len(names) > _COMPARED:
        names = [name for name in names if name[:2].lower() == wrong[:2].lower()][:_COMPARED]
    alike = get_close_matches(wrong, names, SHOWN, cutoff)
    return list(dict.fromkeys((*same, *near, *alike)))[:SHOWN]


def _bones(name: str) -> str:
    """What stays of a name without case, separators and leading zeros."""
    parts = name.lower().replace("_", "-").replace(".", "-").split("-")
    return "".join(part.lstrip("0") for part in parts)


def nothing_matches(expr: Expr, sight: Evaluator) -> str:
    """The message for an expression that matches no node: what each part has, or what came close."""
    if not any(True for _ in sight.roster.names()):
        return f"{shorten(expr.text)} matches no node; no node is enrolled"
    if isinstance(expr, And):
        return f"{shorten(expr.text)} matches no node: {_parts(expr, sight)}"
    return f"{shorten(expr.text)} matches no node{_hint(expr, sight)}"


def _parts(expr: And, sight: Evaluator) -> str:
    counts = []
    for part in expr.operands[:5]:
        found = sight.members(part, sight.everybody())
        hint = "" if found or isinstance(part, Not) else _hint(part, sight)
        counts.append(f"{shorten(part.text, 60)} matches {len(found)}{hint}")
    return "; ".join(counts)


def _hint(expr: Expr, sight: Evaluator) -> str:
    if isinstance(expr, Pattern):
        word = "".join(sign for sign in expr.text.lstrip("~") if sign.isalnum() or sign in "._-")
        near = close_names(word, sight.roster.names(), 0.5)
        return f"; close: {', '.join(near)}" if near else f"; enrolled: {shorten(fold(sight.roster.names()))}"
    if isinstance(expr, (Label, Fact)):
        return _hint_values(expr, sight)
    return "" if children(expr) else _hint_online(sight)


def _hint_online(sight: Evaluator) -> str:
    offline = sight.everybody() - sight.online(sight.everybody())
    return f" online now ({len(offline)} offline: {shorten(fold(offline))})" if offline else " online now"


def _hint_values(expr: Label | Fact, sight: Evaluator) -> str:
    """For a label or a fact: who has it but is offline, else the values or names there are."""
    everybody = sight.everybody()
    away = [name for name in everybody - sight.online(everybody) if _fits_away(expr, name, sight)]
    if away:
        return f" online now; offline: {shorten(fold(away))}"
    values: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    is_label = isinstance(expr, Label)
    for name in everybody:
        held = sight.roster.labels(name) if is_label else sight.facts(name)
        kinds.update(held.keys())
        values.update(str(value) for value in _held(expr, held))
    word, subject = ("label", expr.key) if isinstance(expr, Label) else ("fact", expr.path)
    if values:
        return f" online now; {word} {subject} is {_most(values)}"
    return f" online now; no node has the {word} {subject}" + (f", only {_most(kinds)}" if kinds else "")


def _held(expr: Label | Fact, held: Mapping[str, Any]) -> list[Any]:
    """The values a node has of what the expression asks for."""
    if isinstance(expr, Fact):
        return fact_values(held, expr.path)
    return [held[expr.key]] if expr.key in held else []


def _fits_away(expr: Label | Fact, name: str, sight: Evaluator) -> bool:
    return sight.label_fits(expr, name) if isinstance(expr, Label) else fact_fits(expr, sight.facts(name))


def _most(values: Counter[str]) -> str:
    common = [shorten(value, 40) for value, _ in values.most_common(8)]
    return ", ".join(common) + (", ..." if len(values) > len(common) else "")

"""Which steps may use which values of `--arg`, so that a node gets those of its own steps only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from director import verbs
from director.language.scope import is_proxy
from director.planning.plan import PlannedStep
from director.protocol.sealing import ranges_of

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def uses_of(steps: Sequence[PlannedStep], given: Iterable[str]) -> dict[str, list[list[int]]]:
    """By name the ranges of steps that may use it: those whose text has it, and those that can use any name."""
    names = tuple(given)
    if not names:
        return {}
    found: dict[str, list[int]] = {name: [] for name in names}
    for index, step in enumerate(steps):
        for name in _used(step, names):
            found[name].append(index)
    return {name: ranges_of(numbers) for name, numbers in found.items()}


def _used(step: PlannedStep, names: Sequence[str]) -> Iterable[str]:
    row = step.row
    if "own" in row or row["flags"].get("blueprint") or verbs.load(row["verb"]).sets == "other":
        return names  # an own verb has them all at hand, and files on the node or in a blob may name any
    command = verbs.load(row["verb"]).command
    words = set(_WORD.findall(f"{row['text']} {row['body']} {row['flags']}"))
    return [name for name in names if name in words or not _WORD.fullmatch(name) or (command and is_proxy(name))]

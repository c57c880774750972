"""Which secrets each node of a job needs, and for which steps; from the meta of its plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from director.protocol.sealing import ranges_of
from director.scheduler.blocks import nodes_of

Needs = dict[str, list[list[int]]]  # by name of the secret: ranges of steps


def needs_of(
    meta: Mapping[str, Any], done: Mapping[str, str], pause: Callable[[], object] = lambda: None
) -> Iterator[tuple[Needs, list[str]]]:
    """What nodes need, and the nodes that need just that.

    Args:
        done: node to a text with `1` for each step that it need not run; of a resumed job.
        pause: called now and then, as many blocks and nodes take long.
    """
    steps = steps_of(meta)
    if not steps:
        return
    members: dict[str, list[int]] = {}
    for number, block in enumerate(meta["blocks"]):
        pause()
        if any(block["first"] <= step <= block["last"] for step in steps):
            for node in dict.fromkeys((*nodes_of(meta, block), *(block.get("choose") or ()))):
                members.setdefault(node, []).append(number)
    groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for node, blocks in members.items():
        groups.setdefault((done.get(node, ""), tuple(blocks)), []).append(node)
    for (flags, numbers), nodes in groups.items():
        pause()
        if needs := _needs(steps, [meta["blocks"][number] for number in numbers], flags):
            yield needs, nodes


def names_of(meta: Mapping[str, Any], states: Sequence[int], none: int) -> list[str]:
    """The secrets of the steps that a node has, whose letter in `states` is not `none`."""
    return [
        name
        for name, ranges in meta.get("secrets", {}).items()
        if any(states[step] != none for first, last in ranges for step in range(first, last + 1))
    ]


def steps_of(meta: Mapping[str, Any]) -> dict[int, list[str]]:
    """The names of the secrets of each step that uses some."""
    found: dict[int, list[str]] = {}
    for name, ranges in meta.get("secrets", {}).items():
        for first, last in ranges:
            for step in range(first, last + 1):
                found.setdefault(step, []).append(name)
    return found


def _needs(steps: Mapping[int, list[str]], blocks: Sequence[Mapping[str, Any]], done: str) -> Needs:
    found: dict[str, list[int]] = {}
    for step, names in steps.items():
        if done[step : step + 1] != "1" and any(block["first"] <= step <= block["last"] for block in blocks):
            for name in names:
                found.setdefault(name, []).append(step)
    return {name: ranges_of(numbers) for name, numbers in found.items()}

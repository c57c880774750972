"""What a resumed job is made of: another job's plan, narrowed, and what had gone well there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOT_KEPT = frozenset(("offline", "after", "before", "notes", "warnings", "resumes", "seeded"))


@dataclass(frozen=True, slots=True)
class Resumed:
    """A job that shall be run again in part.

    Attributes:
        id: of the job that is resumed.
        succeeded: node to a text with `1` for each step that went well there.
    """

    id: str
    succeeded: Mapping[str, str]


def succeeded_of(patterns: Sequence[tuple[str, Sequence[str]]]) -> dict[str, str]:
    """Node to its text of 0 and 1, from the ledger's `[[text, [nodes]]]`; nodes share their texts."""
    return {node: flags for flags, nodes in patterns for node in nodes if "1" in flags}


def plan_of(record: Mapping[str, Any], allowed: Collection[str] | None, notes: list[str]) -> dict[str, Any]:
    """The meta of the new job: that of the old one, with only the nodes of `allowed` (None: all of them).

    A stage that is left without nodes keeps its place and has no tasks; `notes` is told.
    """
    old = record["meta"]
    meta = {name: value for name, value in old.items() if name not in NOT_KEPT}
    meta["resumes"], meta["seeded"] = record["id"], record["seeded"]
    if allowed is None:
        return meta
    meta["stages"] = [_stage(stage, allowed, notes) for stage in old["stages"]]
    once = frozenset(old.get("once", ()))
    done = succeeded_of(record["succeeded"])
    meta["blocks"] = [_block(block, meta["stages"], allowed, once, done) for block in old["blocks"]]
    return meta


def _stage(stage: Mapping[str, Any], allowed: Collection[str], notes: list[str]) -> dict[str, Any]:
    nodes = [name for name in stage["nodes"] if name in allowed]
    if stage["nodes"] and not nodes:
        notes.append(f"the stage {stage.get('name') or 'without a name'} has no nodes left and is dropped")
    return {**stage, "nodes": nodes}


def _block(
    block: Mapping[str, Any],
    stages: Sequence[Mapping[str, Any]],
    allowed: Collection[str],
    once: Collection[int],
    done: Mapping[str, str],
) -> dict[str, Any]:
    """Its nodes that are left; what ran on one node for all, and did not go well there, goes to another one."""
    named = block.get("nodes")
    if named is None or block.get("choose") is not None:  # its node is chosen when the stage starts
        return dict(block)
    nodes = [name for name in named if name in allowed]
    went_well = all(done.get(name, "")[block["last"] : block["last"] + 1] == "1" for name in named)
    if not nodes and block["first"] in once and not went_well:
        return {**block, "nodes": [], "choose": list(stages[block["stage"]]["nodes"])}
    return {**block, "nodes": nodes}

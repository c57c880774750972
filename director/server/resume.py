"""What a resumed job is made of: the plan of another job with fewer nodes, and what succeeded there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

NOT_KEPT = frozenset(("offline", "after", "before", "notes", "warnings", "resumes", "seeded"))


def succeeded_of(patterns: Sequence[tuple[str, Sequence[str]]]) -> dict[str, str]:
    """Node to its text of 0 and 1 a step, from the ledger's `[[text, [nodes]]]`; nodes without a `1` are left out."""
    return {node: flags for flags, nodes in patterns for node in nodes if "1" in flags}


def plan_of(record: Mapping[str, Any], allowed: Collection[str] | None, notes: list[str]) -> dict[str, Any]:
    """The meta of the new job: that of the old one, with only the nodes of `allowed` (None: all of them).

    A stage that has no nodes left keeps its number and has no tasks; `notes` gets a line about it.

    Args:
        record: the ledger's answer to `resume_record`.
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
    """The block with its allowed nodes; a run-once step that loses its node before it succeeded gets a new choice."""
    named = block.get("nodes")
    if named is None or block.get("choose") is not None:
        return dict(block)
    nodes = [name for name in named if name in allowed]
    went_well = all(done.get(name, "")[block["last"] : block["last"] + 1] == "1" for name in named)
    if not nodes and block["first"] in once and not went_well:
        return {**block, "nodes": [], "choose": list(stages[block["stage"]]["nodes"])}
    return {**block, "nodes": nodes}

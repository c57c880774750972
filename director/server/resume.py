"""Makes the plan of a resumed job: that of another job, for fewer nodes, with the steps that succeeded there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOT_KEPT = frozenset(("offline", "after", "before", "notes", "warnings", "resumes", "seeded"))


@dataclass(frozen=True, slots=True)
class Resumed:
    """The job that another one resumes.

    Attributes:
        id: its id.
        succeeded: by node, a text with `1` for each step that succeeded there and `0` for each other.
    """

    id: str
    succeeded: Mapping[str, str]


def succeeded_of(patterns: Sequence[tuple[str, Sequence[str]]]) -> dict[str, str]:
    """`Resumed.succeeded` from the ledger's `[[text, [nodes]]]`, without nodes where nothing succeeded."""
    return {node: flags for flags, nodes in patterns for node in nodes if "1" in flags}


def plan_of(record: Mapping[str, Any], allowed: Collection[str] | None, notes: list[str]) -> dict[str, Any]:
    """The meta of the new job: that of the old one with the nodes that are in `allowed`; None allows all.

    A stage that loses all its nodes keeps its index and has no tasks; a line about it is added to `notes`.
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
    """The block with the nodes that are left. A run-once step that did not succeed may choose among those."""
    named = block.get("nodes")
    if named is None or block.get("choose") is not None:  # the scheduler chooses its node when the stage starts
        return dict(block)
    nodes = [name for name in named if name in allowed]
    succeeded = all(done.get(name, "")[block["last"] : block["last"] + 1] == "1" for name in named)
    if not nodes and block["first"] in once and not succeeded:
        return {**block, "nodes": [], "choose": list(stages[block["stage"]]["nodes"])}
    return {**block, "nodes": nodes}

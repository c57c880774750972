"""A finished plan, encoded as one meta and as chunks of steps; a chunk is the same for every node that gets it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import ujson

from director.protocol.messages import STEPS_PER_CHUNK
from director.protocol.sealing import ranges_of


@dataclass(slots=True)
class PlannedStage:
    """One stage with its nodes in the order resolved.

    Attributes:
        index: its position in the plan; dropped stages are not counted.
        unmatched: alternatives of its targets that select no node.
        parent: index of the stage that FROM names, whose WORKDIR, USER and SHELL apply here; -1 for none.
        lane, group: of an async entry, else 0.
    """

    index: int
    name: str
    nodes: list[str]
    unmatched: list[str] = field(default_factory=list)
    parent: int = -1
    lane: int = 0
    group: int = 0


@dataclass(slots=True)
class PlannedStep:
    """One step.

    Attributes:
        nodes: None for those of its stage.
        once: whether one node runs it for all; `nodes` is the one that would be chosen now.
        barrier: whether every node ends the steps before it first.
        restarts: whether it restarts the host.
        exchange: see `Verb.exchange`.
        labels: what the server records when the step has succeeded on a node: `sets` of labels, and by node the number
            of its set, 0 where there is none.
        choose: the nodes of which one is chosen when the stage starts; None for a step that is not run-once.
        needed: name to size in bytes of the blobs that the step needs, as in `Plan.contents`.
        secrets: the names of those that the step uses.
    """

    row: dict[str, Any]
    stage: PlannedStage
    nodes: list[str] | None = None
    once: bool = False
    barrier: bool = False
    exchange: dict[str, Any] | None = None
    choose: list[str] | None = None
    labels: dict[str, Any] | None = None
    restarts: bool = False
    needed: dict[str, int] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()

    def belongs_with(self, other: PlannedStep) -> bool:
        """Whether the next step, `other`, is of the same block."""
        together = self.stage is other.stage and self.nodes == other.nodes and self.once == other.once
        return together and not other.barrier and self.choose == other.choose

    def has_nodes_of(self, other: PlannedStep) -> bool:
        """Whether the next step, `other`, goes to the same nodes, whichever are chosen for run-once steps."""
        if self.choose is not None or other.choose is not None:
            return self.belongs_with(other)
        mine, others = _nodes(self), _nodes(other)
        return mine is others or mine == others


@dataclass(slots=True)
class Plan:
    """The plan of one text.

    Attributes:
        contents: for each chunk the blobs that its steps need: sha256 to size in bytes, or names as in `blob_lists`.
        digests: the same of all chunks, and the blobs that `contents` names by a list of sets; all must be kept.
        args: by name of a `--arg` the ranges of steps that may use it.
        notes: lines for the submitter's stderr.
        warnings: as `notes`, for `--plan` only.
    """

    stages: list[PlannedStage]
    steps: list[PlannedStep]
    contents: list[dict[str, int]] = field(default_factory=list)
    digests: dict[str, int] = field(default_factory=dict)
    args: dict[str, list[list[int]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def meta(self) -> dict[str, Any]:
        """Everything but the steps, for JSON."""
        blocks, starts = list(blocks_of(self.steps)), chunk_starts(self.steps)
        contents = self.contents or [{}] * len(starts)
        nodes = {name for step in self.steps for name in _nodes(step)}
        return {
            "step_count": len(self.steps),
            "node_count": len(nodes),
            "task_count": sum(len(_nodes(step)) for step in self.steps),
            "stages": [{"name": s.name, "nodes": s.nodes, "unmatched": s.unmatched} for s in self.stages],
            "blocks": blocks,
            "ignored": [index for index, step in enumerate(self.steps) if step.row["flags"].get("ignore-errors")],
            "once": [index for index, step in enumerate(self.steps) if step.once],
            "reboots": [index for index, step in enumerate(self.steps) if step.restarts],
            "exchange": {str(index): step.exchange for index, step in enumerate(self.steps) if step.exchange},
            "labels": {str(index): step.labels for index, step in enumerate(self.steps) if step.labels},
            "secrets": self._secrets(),
            "args": self.args,
            "timeouts": {
                str(index): limit for index, step in enumerate(self.steps) if (limit := _limit(step)) is not None
            },
            "chunks": [{"first": first, "contents": needed} for first, needed in zip(starts, contents, strict=True)],
            "digests": self.digests,
            "notes": self.notes,
            "warnings": self.warnings,
        }

    def _secrets(self) -> dict[str, list[list[int]]]:
        """By name the ranges of steps that use it."""
        found: dict[str, list[int]] = {}
        for index, step in enumerate(self.steps):
            for name in sorted(step.secrets):
                found.setdefault(name, []).append(index)
        return {name: ranges_of(steps) for name, steps in found.items()}

    def chunks(self) -> list[bytes]:
        """The steps in the order of the text, as JSON lists; where one ends says `chunk_starts`."""
        rows, starts = list(self._rows()), chunk_starts(self.steps)
        return [
            ujson.dumps(rows[first:end], escape_forward_slashes=False).encode()
            for first, end in pairwise((*starts, len(rows)))
        ]

    def _rows(self) -> Iterator[dict[str, Any]]:
        """The steps as nodes get them: `behind` is the last run-once step before the step in its stage."""
        last: dict[int, int] = {}
        for index, step in enumerate(self.steps):
            behind = last.get(step.stage.index)
            yield step.row if behind is None else {**step.row, "behind": behind}
            if step.once:
                last[step.stage.index] = index


def chunk_starts(steps: Sequence[PlannedStep]) -> list[int]:
    """The first step of each chunk: at most `STEPS_PER_CHUNK` steps, all of which go to the same nodes."""
    starts: list[int] = []
    for index, step in enumerate(steps):
        if not index or index - starts[-1] == STEPS_PER_CHUNK or not steps[index - 1].has_nodes_of(step):
            starts.append(index)
    return starts


def blocks_of(steps: Sequence[PlannedStep]) -> Iterable[dict[str, Any]]:
    """The longest runs of consecutive steps without a barrier between them.

    A barrier is before a new stage, except between two lanes of one group, and before a step that has one.
    """
    first = 0
    for index, step in enumerate(steps):
        last = index + 1 == len(steps)
        if not last and step.belongs_with(steps[index + 1]):
            continue
        before = steps[first - 1] if first else None
        start = steps[first]
        choice = {"once": True, "choose": start.choose} if start.choose is not None else {}
        yield {
            "first": first,
            "last": index,
            "stage": step.stage.index,
            "lane": step.stage.lane,
            "group": step.stage.group,
            "barrier": before is not None and _gated(before, start),
            "nodes": step.nodes,
            **choice,
        }
        first = index + 1


def _gated(before: PlannedStep, start: PlannedStep) -> bool:
    if start.barrier:
        return True
    if start.stage.index == before.stage.index:  # the same stage, or ARGs before the first FROM
        return False
    return not start.stage.group or start.stage.group != before.stage.group


def _limit(step: PlannedStep) -> float | None:
    """The step's own time limit in seconds, None for the job's; 0 when each of several attempts has its own."""
    flags = step.row["flags"]
    return 0.0 if flags.get("retry", 1) > 1 else flags.get("timeout")


def _nodes(step: PlannedStep) -> list[str]:
    return step.stage.nodes if step.nodes is None else step.nodes

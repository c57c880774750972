"""A finished plan, and how it travels: its meta once, its steps in chunks that are the same for every node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ujson

from director.protocol.messages import STEPS_PER_CHUNK


@dataclass(slots=True)
class PlannedStage:
    """One stage with its nodes in the order settled.

    Attributes:
        index: its place in the plan, which is not that in the text where stages were dropped.
        parent: index of the stage that FROM named, whose WORKDIR, USER and SHELL hold here; -1 for none.
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
        nodes: None means its stage's.
        once: it runs on one node, as far as one can see now `nodes`, and the others wait for it.
        choose: the nodes of which one is chosen when the stage starts.
        exchange: what the server must know of it; see `Verb.exchange`.
    """

    row: dict[str, Any]
    stage: PlannedStage
    nodes: list[str] | None = None
    once: bool = False
    gate: bool = False
    exchange: dict[str, Any] | None = None
    choose: list[str] | None = None

    def belongs_with(self, other: PlannedStep) -> bool:
        """Whether no barrier stands between this step and the next one, `other`."""
        together = self.stage is other.stage and self.nodes == other.nodes and self.once == other.once
        return together and not other.gate and self.choose == other.choose


@dataclass(slots=True)
class Plan:
    """What a planner makes of one text.

    Attributes:
        digests: sha256 to size of every content the steps need; many of them by a list, see `content_lists`.
        notes: lines for the submitter's stderr; `warnings` are for `--plan` only.
    """

    stages: list[PlannedStage]
    steps: list[PlannedStep]
    digests: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def meta(self) -> dict[str, Any]:
        """Everything but the steps, JSON-able."""
        blocks = list(blocks_of(self.steps))
        nodes = {name for step in self.steps for name in _nodes(step)}
        return {
            "step_count": len(self.steps),
            "node_count": len(nodes),
            "task_count": sum(len(_nodes(step)) for step in self.steps),
            "stages": [{"name": s.name, "nodes": s.nodes, "unmatched": s.unmatched} for s in self.stages],
            "blocks": blocks,
            "ignored": [index for index, step in enumerate(self.steps) if step.row["flags"].get("ignore-errors")],
            "once": [index for index, step in enumerate(self.steps) if step.once],
            "exchange": {str(index): step.exchange for index, step in enumerate(self.steps) if step.exchange},
            "timeouts": {
                str(index): limit for index, step in enumerate(self.steps) if (limit := _limit(step)) is not None
            },
            "digests": self.digests,
            "notes": self.notes,
            "warnings": self.warnings,
        }

    def chunks(self) -> list[bytes]:
        """The steps in file order, `STEPS_PER_CHUNK` in each JSON list."""
        rows = list(self._rows())
        return [
            ujson.dumps(rows[at : at + STEPS_PER_CHUNK], escape_forward_slashes=False).encode()
            for at in range(0, len(rows), STEPS_PER_CHUNK)
        ]

    def _rows(self) -> Iterator[dict[str, Any]]:
        """The steps as nodes get them: what stands behind a run-once step of its stage names the last of those."""
        last: dict[int, int] = {}
        for index, step in enumerate(self.steps):
            behind = last.get(step.stage.index)
            yield step.row if behind is None else {**step.row, "behind": behind}
            if step.once:
                last[step.stage.index] = index


def blocks_of(steps: Sequence[PlannedStep]) -> Iterable[dict[str, Any]]:
    """Maximal runs of steps that need no barrier between them.

    A gate stands before a new stage (but not before a lane that begins beside another), and where a step asks for one.
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
            "gate": before is not None and _gated(before, start),
            "nodes": step.nodes,
            **choice,
        }
        first = index + 1


def _gated(before: PlannedStep, start: PlannedStep) -> bool:
    if start.gate:
        return True
    if start.stage.index == before.stage.index:  # the same stage, or the ARGs before the first one
        return False
    return not start.stage.group or start.stage.group != before.stage.group


def _limit(step: PlannedStep) -> float | None:
    """The step's own time limit in seconds, None when it has the job's; 0 for several attempts, each with its own."""
    flags = step.row["flags"]
    return 0.0 if flags.get("retry", 1) > 1 else flags.get("timeout")


def _nodes(step: PlannedStep) -> list[str]:
    return step.stage.nodes if step.nodes is None else step.nodes

"""The scopes of one job on one node: its stages one after another, the lanes of an async group beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from director.language.scope import Scope

Step = dict[str, Any]
_OF_STAGE = ("user", "workdir", "shell")  # effects that last to the end of a stage


@dataclass(slots=True)
class _Lane:
    scope: Scope
    stage: int
    effects: list[Mapping[str, Any]] = field(default_factory=list)


class JobScopes:
    """Gives each step the scope that it sees.

    Args:
        main: the scope of the steps that are in no lane; a lane has a copy of it.
    """

    def __init__(self, main: Scope) -> None:
        self.main = main
        self._stage = -1
        self._ends: dict[int, dict[str, Any]] = {}  # USER, WORKDIR and SHELL at the end of each stage
        self._group = 0
        self._lanes: dict[int, _Lane] = {}

    def ends_lanes(self, step: Step) -> bool:
        """Whether the open lanes end before this step."""
        return bool(self._lanes) and not (step.get("lane") and step["group"] == self._group)

    def enter(self, step: Step) -> Scope:
        """The scope of this step. Call it for each step in order, once the lanes that it ends have run."""
        if self.ends_lanes(step):
            self._join_lanes()
        number = step.get("lane", 0)
        if not number:
            if step["stage"] != self._stage:
                self._leave_stage()
                self._stage = step["stage"]
                self._inherit(self.main, step)
            return self.main
        if number not in self._lanes:
            self._leave_stage()
            self._group = step["group"]
            lane = self._lanes[number] = _Lane(self.main.copy(), step["stage"])
            self._inherit(lane.scope, step)
        return self._lanes[number].scope

    def keep(self, step: Step, effects: Mapping[str, Any] | None) -> None:
        """Note what a step of a lane set, for the steps after the lanes; the caller applies it to the step's scope."""
        if effects and step.get("lane") in self._lanes:
            self._lanes[step["lane"]].effects.append(effects)

    def _inherit(self, scope: Scope, step: Step) -> None:
        """`FROM name` of an earlier stage: begin with its USER, WORKDIR and SHELL."""
        scope.apply(self._ends.get(step.get("inherit", -1), {}))

    def _leave_stage(self) -> None:
        if self._stage >= 0:
            self._ends[self._stage] = self.main.place()
            self.main.end_stage()
        self._stage = -1

    def _join_lanes(self) -> None:
        """Apply what the lanes set to the main scope, in the order of the file."""
        for _, lane in sorted(self._lanes.items()):
            self._ends[lane.stage] = lane.scope.place()
            for effects in lane.effects:
                self.main.apply({name: value for name, value in effects.items() if name not in _OF_STAGE})
        self._lanes.clear()

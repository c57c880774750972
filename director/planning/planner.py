"""Makes the plan of one text without doing I/O of its own: it yields what it wants read, and is sent the entries.

`plan()` is a generator of `(number, Want, file, line)`; the driver sends a list of `Entry` for each, or throws
what went wrong, and finds the `Plan` in StopIteration. Contents go to the blob store, which is flushed at the end.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from director import verbs
from director.errors import DirectorError, LanguageError, NoTargetError, UsageError
from director.language import braces
from director.language.error_list import Faults
from director.language.instructions import Document, Instruction
from director.language.reader import read
from director.language.scope import RESERVED
from director.planning.context import Context
from director.planning.lint import lint
from director.planning.plan import Plan, PlannedStage, PlannedStep
from director.planning.stages import Stages, lanes
from director.planning.step_builder import Asked, StageContext, StepBuilder
from director.targets import RosterView
from director.transfer.blob_lists import shortened
from director.transfer.blobs import BlobStore
from director.verbs.base import Entry

Planner = Generator[Asked, list[Entry], Plan]
STEPS_LIMIT = 100_000

__all__ = ["Plan", "plan"]


def plan(request: Mapping[str, Any], roster: RosterView, blobs: BlobStore, faults: Faults | None = None) -> Planner:
    """Plan one text; one that is wrong is read to its end, so that all errors are told at once.

    Args:
        request: `{"file": {"name", "form", "text", "folder"}, "options": {"target", "args", "extend_args"}}`, as of a
            submission; `"explain": true` adds warnings, and why nodes are not meant.
        roster: the fleet now.
        blobs: where contents are kept.
        faults: takes the errors that were found so far; once it is true no contents are needed any more.

    Raises:
        LanguageError, UsageError: exit code 2; NoTargetError: exit code 5; and whatever is thrown in.
    """
    faults = Faults() if faults is None else faults
    try:
        return (yield from _plan(request, roster, blobs, faults))
    except DirectorError:
        faults.check()  # what comes behind them may be wrong only because of them
        raise


def _plan(request: Mapping[str, Any], roster: RosterView, blobs: BlobStore, faults: Faults) -> Planner:
    file, options = request["file"], request.get("options") or {}
    document = read(file["text"], file["name"], file.get("form", "auto"), verbs.flag_table(), faults)
    known = Context(_given(options.get("args") or {}))
    for instruction in document.globals:
        with faults.caught():
            _declare(instruction, known, bool(options.get("extend_args")))
    stages = Stages(document, roster, options.get("target") or (), known)
    surroundings = StageContext(
        roster, blobs, file["folder"], stages.nodes_of, faults, extend_args=bool(options.get("extend_args"))
    )
    drafter = _Drafter(document, stages, known, surroundings)
    steps = yield from drafter.steps()
    faults.check()
    if not stages.planned:
        raise NoTargetError(
            f"{document.file}: --target leaves no stage a node: {' '.join(options.get('target') or ())}"
        )
    if not steps:
        raise LanguageError("there is nothing to do; expected a step", document.file, 1)
    shared = drafter.shared
    digests = shortened(shared.needed, shared.made, blobs)
    blobs.flush()
    notes = [*document.notes, *stages.notes, *shared.notes]
    if request.get("explain"):
        stages.explain()
        shared.warnings += lint(document, steps, known.overrides)
    return Plan(stages.planned, steps, digests, list(dict.fromkeys(notes)), list(dict.fromkeys(shared.warnings)))


def _given(args: Mapping[str, Any]) -> dict[str, str]:
    """The texts of `--arg`. Raises UsageError for a name that no ARG may have."""
    if taken := RESERVED & args.keys():
        raise UsageError(f"--arg {min(taken)}=…: {min(taken)} is no name for an ARG: templates know it already")
    return {str(name): str(text) for name, text in args.items()}


class _Drafter:
    """Walks over the stages and drafts their steps."""

    def __init__(
        self,
        document: Document,
        stages: Stages,
        known: Context,
        shared: StageContext,
    ) -> None:
        self.shared = shared
        self._document = document
        self._stages = stages
        self._roster = shared.roster
        self._globals = known
        self._declared: list[tuple[frozenset[str], Instruction]] = []
        self._steps: list[PlannedStep] = []

    def steps(self) -> Generator[Asked, list[Entry], list[PlannedStep]]:
        """All steps of the text, numbered."""
        pairs = []
        for stage in self._document.stages:
            planned: PlannedStage | None = PlannedStage(
                0, stage.name, []
            )  # for the errors of its steps, if it is wrong
            with self.shared.faults.caught():
                planned = self._stages.add(stage)
            if planned is not None:
                pairs.append((stage, planned))
        lanes(pairs)
        self.shared.members = list(dict.fromkeys(name for _, planned in pairs for name in planned.nodes))
        if pairs:
            yield from self._global_steps(pairs[0][1])
        for stage, planned in pairs:
            yield from self._stage_steps(stage.instructions, planned)
        for index, step in enumerate(self._steps):
            step.row = {"i": index, **step.row}
        return self._steps

    def _global_steps(self, first: PlannedStage) -> Generator[Asked, list[Entry], None]:
        """The ARGs before the first FROM: steps of every node of the job, before anything else."""
        everyone = PlannedStage(first.index, "", self.shared.members)
        for instruction in self._document.globals:
            with self.shared.faults.caught():
                row = yield from StepBuilder(instruction, self.shared, self._globals).step(everyone, everyone.nodes)
                self._add(PlannedStep(row, everyone, everyone.nodes), instruction)

    def _stage_steps(
        self, instructions: Sequence[Instruction], stage: PlannedStage
    ) -> Generator[Asked, list[Entry], None]:
        known = self._known_in(stage)
        for instruction in instructions:
            with self._caught(instruction):
                yield from self._step(instruction, stage, known)

    @contextmanager
    def _caught(self, instruction: Instruction) -> Iterator[None]:
        """Keep the error of an instruction, unless it may come of a value that an earlier wrong one did not set."""
        faults = self.shared.faults
        if faults and ("$" in instruction.source or braces.present(instruction.source)):
            with suppress(LanguageError, NoTargetError):
                yield
        else:
            with faults.caught():
                yield

    def _step(
        self, instruction: Instruction, stage: PlannedStage, known: Context
    ) -> Generator[Asked, list[Entry], None]:
        drafting = StepBuilder(instruction, self.shared, known)
        nodes = self._assigned(instruction, drafting, stage)
        row = yield from drafting.step(stage, stage.nodes if nodes is None else nodes)
        if self.shared.faults:
            return  # there will be no plan
        if stage.parent >= 0:
            row["inherit"] = stage.parent
        once = bool(drafting.flags.get("run-once"))
        among = list(stage.nodes if nodes is None else nodes) if once else None
        if among is not None:
            nodes = [self._first_online(among)]
        gate = _gate(instruction, row, stage)
        self._add(PlannedStep(row, stage, nodes, once, gate, choose=among), instruction)
        self._learn(instruction, row, known, nodes or stage.nodes)

    def _add(self, step: PlannedStep, instruction: Instruction) -> None:
        if len(self._steps) >= STEPS_LIMIT:
            raise LanguageError(f"more than {STEPS_LIMIT} steps", instruction.file, instruction.line)
        step.exchange = verbs.load(instruction.verb).exchange(step.row["body"])
        self._steps.append(step)

    def _assigned(self, instruction: Instruction, drafting: StepBuilder, stage: PlannedStage) -> list[str] | None:
        """The nodes of a step's own `assign`, among those of its stage."""
        if not instruction.assign or not stage.nodes:
            return None
        wanted = {name for expression in instruction.assign for name in drafting.target(expression)}
        nodes = [name for name in stage.nodes if name in wanted]
        if not nodes:
            raise drafting.fail("assign names no node of its entry; expected some of the entry's targets")
        return nodes

    def _first_online(self, nodes: Sequence[str]) -> str:
        return next((name for name in nodes if self._roster.online(name)), nodes[0])

    # -- what is known where ------------------------------------------------------------------------------

    def _known_in(self, stage: PlannedStage) -> Context:
        """The globals, and the ARGs that every node of the stage has had before."""
        known = self._globals.copy()
        nodes = set(stage.nodes)
        for members, instruction in self._declared:
            if nodes <= members:
                _declare(instruction, known, self.shared.extend_args)
        return known

    def _learn(self, instruction: Instruction, row: Mapping[str, Any], known: Context, nodes: Sequence[str]) -> None:
        if instruction.verb == "ARG":
            _declare(instruction, known, self.shared.extend_args)
            self._declared.append((frozenset(nodes), instruction))
        for flag in ("stdout-arg", "stderr-arg"):
            if flag in row["flags"]:
                known.forget(row["flags"][flag])


def _declare(instruction: Instruction, known: Context, extend: bool = False) -> None:
    from director.verbs.arguments import raw_pairs

    extend = extend or bool(instruction.flags.get("extend-args"))

    try:
        known.declare(raw_pairs(instruction), instruction.escape, extend)
    except ValueError as error:
        raise LanguageError(str(error), instruction.file, instruction.line) from None


def _gate(instruction: Instruction, row: Mapping[str, Any], stage: PlannedStage) -> bool:
    """Whether all nodes wait before a step; a COPY --from of an async entry waits for its source only."""
    return verbs.load(instruction.verb).gate or ("from" in row["body"] and not stage.lane)

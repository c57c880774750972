"""Plans one text; a generator requests the sources to read, so that the planner itself reads no file of the user.

`plan()` yields `(number, Want, file, line)`; the caller sends the list of `Entry` for each, or throws an error, and
gets the `Plan` from StopIteration. Blobs that the planner makes are in the blob store and flushed by then.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import pairwise
from typing import Any

from director import verbs
from director.errors import DirectorError, LanguageError, NoTargetError, UsageError
from director.language import braces
from director.language.error_list import Faults
from director.language.instructions import Document, Instruction, pairs
from director.language.reader import read
from director.language.scope import RESERVED
from director.planning.context import Context
from director.planning.lint import lint
from director.planning.plan import Plan, PlannedStage, PlannedStep, chunk_starts
from director.planning.stages import Stages, lanes, located
from director.planning.step_builder import PlanState, Request, StepBuilder
from director.planning.used_args import uses_of
from director.targets import RoleScope, RosterView
from director.transfer.blob_lists import NAMED, is_list, shortened
from director.transfer.blobs import BlobStore
from director.verbs.base import Entry

Planner = Generator[Request, list[Entry], Plan]
Steps = Generator[Request, list[Entry], None]
STEPS_LIMIT = 100_000

__all__ = ["Plan", "plan"]


def plan(request: Mapping[str, Any], roster: RosterView, blobs: BlobStore, faults: Faults | None = None) -> Planner:
    """Plan one text; after an error the rest is still read, so that all errors are reported at once.

    Args:
        request: `{"file": {"name", "form", "text", "folder"}, "options": {"target", "args", "extend_args"}}`, as of a
            submission; `"explain": true` adds warnings, and reasons why nodes are not selected; `"scope": [text]`
            leaves only the nodes that these expressions cover; `"secrets": [name]` are those that the submitter has.
        roster: the enrolled nodes.
        blobs: the blob store.
        faults: collects the errors; once it has one, no contents are needed any more.

    Raises:
        LanguageError: the text is wrong; LanguageErrors for several errors.
        UsageError: an option is wrong.
        NoTargetError: a target selects nothing.
        NotPermittedError: a node outside of the scope is named.
        DirectorError: as thrown in by the caller.
    """
    faults = Faults() if faults is None else faults
    roster = RoleScope(request.get("scope")).within(roster)
    try:
        return (yield from _plan(request, roster, blobs, faults))
    except DirectorError:
        faults.check()  # an earlier error may have caused this one
        raise


def _plan(request: Mapping[str, Any], roster: RosterView, blobs: BlobStore, faults: Faults) -> Planner:
    file, options = request["file"], request.get("options") or {}
    document = read(file["text"], file["name"], file.get("form", "auto"), verbs.every(), faults)
    given = _given(options.get("args") or {})
    context = Context(given, fixed=set(given))
    extend, targets = bool(options.get("extend_args")), options.get("target") or ()
    for instruction in document.globals:
        with faults.caught():
            _declare(instruction, context, extend)
    stages = Stages(document, roster, targets, context)
    state = PlanState(roster, blobs, file["folder"], stages.nodes_of, faults, extend_args=extend)
    state.bounded = request.get("scope") is not None
    state.secrets, state.explain = request.get("secrets", ()), bool(request.get("explain"))
    steps = yield from _StepPlanner(document, stages, context, state).steps()
    with faults.caught():
        stages.check_secrets({step.stage.index for step in steps if step.secrets})
    faults.check()
    if not stages.planned:
        raise NoTargetError(f"{document.file}: --target leaves no stage a node: {' '.join(targets)}")
    if not steps:
        raise LanguageError("there is nothing to do; expected a step", document.file, 1)
    contents = _contents(steps, state.made, blobs)
    digests = {name: size for chunk in contents for name, size in chunk.items()} | shortened(state.own, (), blobs)
    blobs.flush()
    if request.get("explain"):
        stages.explain()
        state.warnings += stages.chosen_by_facts()
        state.warnings += lint(document, steps, context.overrides)
    notes = dict.fromkeys((*stages.notes, *state.notes))
    args = uses_of(steps, given)
    return Plan(stages.planned, steps, contents, digests, args, list(notes), list(dict.fromkeys(state.warnings)))


def _contents(steps: Sequence[PlannedStep], made: Collection[str], blobs: BlobStore) -> list[dict[str, int]]:
    """What each chunk needs, as `Plan.contents`; at most `NAMED` of all chunks are named one by one."""
    found: list[dict[str, int]] = []
    room = NAMED
    for first, end in pairwise((*chunk_starts(steps), len(steps))):
        needed = {name: size for step in steps[first:end] for name, size in step.needed.items()}
        found.append(shortened(needed, made, blobs, room))
        room -= len(found[-1])
    return found


def _given(args: Mapping[str, Any]) -> dict[str, str]:
    """The texts of `--arg`. Raises UsageError for a reserved name."""
    if taken := RESERVED & args.keys():
        raise UsageError(f"--arg {min(taken)}=…: {min(taken)} is no name for an ARG: templates know it already")
    return {str(name): str(text) for name, text in args.items()}


class _StepPlanner:
    """Plans the steps of all stages."""

    def __init__(self, document: Document, stages: Stages, context: Context, state: PlanState) -> None:
        self._state = state
        self._document = document
        self._stages = stages
        self._globals = context
        self._learned: list[tuple[frozenset[str], Instruction, Sequence[str]]] = []
        self._steps: list[PlannedStep] = []

    def steps(self) -> Generator[Request, list[Entry], list[PlannedStep]]:
        """All steps of the text, numbered."""
        stages = []
        for stage in self._document.stages:
            planned: PlannedStage | None = PlannedStage(0, stage.name, [])  # of a wrong stage, to check its steps
            with self._state.faults.caught():
                planned = self._stages.add(stage)
            if planned is not None:
                stages.append((stage, planned))
        lanes(stages)
        self._state.members = list(dict.fromkeys(name for _, planned in stages for name in planned.nodes))
        if stages:
            yield from self._global_steps(stages[0][1])
        for stage, planned in stages:
            yield from self._stage_steps(stage.instructions, planned)
        for index, step in enumerate(self._steps):
            step.row = {"i": index, **step.row}
        return self._steps

    def _global_steps(self, first: PlannedStage) -> Steps:
        """The ARGs before the first FROM are the first steps of every node of the job."""
        everyone = PlannedStage(first.index, "", self._state.members)
        for instruction in self._document.globals:
            with self._state.faults.caught():
                builder = StepBuilder(instruction, self._state, self._globals)
                row = yield from builder.step(everyone, everyone.nodes)
                self._add(PlannedStep(row, everyone, everyone.nodes, needed=builder.needed), instruction)

    def _stage_steps(self, instructions: Sequence[Instruction], stage: PlannedStage) -> Steps:
        context = self._context_of(stage)
        for instruction in instructions:
            with self._caught(instruction):
                yield from self._step(instruction, stage, context)

    def _caught(self, instruction: Instruction) -> AbstractContextManager[None]:
        """Collect the error of an instruction, except one that an earlier wrong instruction may have caused."""
        doubtful = "$" in instruction.source or braces.present(instruction.source)
        faults = self._state.faults
        return suppress(LanguageError, NoTargetError) if faults and doubtful else faults.caught()

    def _step(self, instruction: Instruction, stage: PlannedStage, context: Context) -> Steps:
        builder = StepBuilder(instruction, self._state, context)
        nodes = self._assigned(instruction, builder, stage)
        row = yield from builder.step(stage, stage.nodes if nodes is None else nodes)
        if self._state.faults:
            return  # no plan will be made
        if stage.parent >= 0:
            row["inherit"] = stage.parent
        choose = list(stage.nodes if nodes is None else nodes) if builder.flags.get("run-once") else None
        if choose is not None:
            nodes = [next(filter(self._state.roster.online, choose), choose[0])]
        # a lane waits only for the source of its COPY --from
        verb = verbs.load(instruction.verb)
        barrier = verb.barrier(row["body"]) and not stage.lane
        step = PlannedStep(
            row, stage, nodes, choose is not None, barrier, choose=choose, labels=builder.labels, needed=builder.needed,
            secrets=frozenset(builder.secrets), restarts=verb.restarts,
        )  # fmt: skip
        self._add(step, instruction)
        outputs = [row["flags"][flag] for flag in ("stdout-arg", "stderr-arg") if flag in row["flags"]]
        before = context.copy()
        _learn(instruction, outputs, context, self._state.extend_args)
        if nodes is not None:
            context.differ(before)
        if instruction.syntax.sets or outputs:
            self._learned.append((frozenset(nodes or stage.nodes), instruction, outputs))

    def _add(self, step: PlannedStep, instruction: Instruction) -> None:
        if len(self._steps) >= STEPS_LIMIT:
            raise LanguageError(f"more than {STEPS_LIMIT} steps", instruction.file, instruction.line)
        step.exchange = verbs.load(instruction.verb).exchange(step.row["body"])
        if step.exchange and (sets := next(filter(is_list, step.needed), "")):
            step.exchange["of"] = sets
        self._steps.append(step)

    def _assigned(self, instruction: Instruction, builder: StepBuilder, stage: PlannedStage) -> list[str] | None:
        """The nodes of a step's own `assign`, among those of its stage."""
        if not instruction.assign or not stage.nodes:
            return None
        wanted = {name for expression in instruction.assign for name in builder.target(expression)}
        nodes = [name for name in stage.nodes if name in wanted]
        if not nodes:
            raise builder.fail("assign names no node of its entry; expected some of the entry's targets")
        return nodes

    def _context_of(self, stage: PlannedStage) -> Context:
        """The globals, and what earlier steps set on every node of the stage."""
        context = self._globals.copy()
        nodes = set(stage.nodes)
        for members, instruction, outputs in self._learned:
            if nodes <= members:
                _learn(instruction, outputs, context, self._state.extend_args)
            elif not nodes.isdisjoint(members):
                other = context.copy()
                _learn(instruction, outputs, other, self._state.extend_args)
                context.differ(other)
        return context


def _learn(instruction: Instruction, outputs: Sequence[str], context: Context, extend: bool) -> None:
    """Take over what a step sets; `outputs` are the ARGs that its output becomes."""
    sets = instruction.syntax.sets
    if sets == "arg":
        _declare(instruction, context, extend)
    elif sets == "env":
        extends = extend or bool(instruction.flags.get("extend-args"))
        with suppress(ValueError):
            context.set_env(pairs(instruction), instruction.escape, extends)
    elif sets:
        context.doubt(context.fixed)
    for name in outputs:
        context.forget(name)


def _declare(instruction: Instruction, context: Context, extend: bool) -> None:
    extend = extend or bool(instruction.flags.get("extend-args"))
    with located(instruction.file, instruction.line):
        context.declare(pairs(instruction), instruction.escape, extend)

"""Makes one step of one instruction: flags, body, checks of every raw text, and the sources it asks for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from director import verbs
from director.errors import DirectorError, LanguageError, NoTargetError, VerbError
from director.language import flags as flag_reader
from director.language.error_list import Faults
from director.language.instructions import Instruction
from director.language.scope import is_arg_name
from director.language.substitution import check, check_word
from director.planning.context import Context, NodeFacts, NodeNeededError
from director.planning.downloads import download
from director.planning.plan import PlannedStage
from director.targets import RosterView, TargetSyntaxError
from director.transfer.blobs import BlobStore
from director.verbs.base import Entry, Verb, Want
from director.verbs.own import place_of
from director.verbs.source_lists import per_node

#: common flags that the planner itself uses up
_OWN = frozenset(("name", "run-once", "force-lock", "help"))
#: common flags that name an ARG
_KEPT = frozenset(("stdout-arg", "stderr-arg"))

Asked = tuple[int, Want, str, int]
Asking = Generator[Asked, list[Entry], Any]


@dataclass(slots=True)
class StageContext:
    """What all steps of a plan share.

    Attributes:
        settle: the nodes of a target expression or an earlier stage.
        faults: what is wrong in the text so far; there will be no plan when it is true.
        answers: entries of wants that were answered before.
        missing: wants that could not be answered, and why.
        needed: sha256 to size of the contents that steps need.
        made: those of them that were made while planning: lists of files, verbs.
    """

    roster: RosterView
    blobs: BlobStore
    folder: str
    settle: Callable[[str], list[str]]
    faults: Faults
    members: list[str] = field(default_factory=list)
    extend_args: bool = False
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    needed: dict[str, int] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    answers: dict[Want, list[Entry]] = field(default_factory=dict)
    missing: dict[Want, str] = field(default_factory=dict)
    asked: int = 0


class StepBuilder:
    """The planning of one instruction, as its verb sees it (`verbs.base.Planning`)."""

    def __init__(self, instruction: Instruction, shared: StageContext, known: Context) -> None:
        self.instruction = instruction
        self.folder = shared.folder
        self.flags: dict[str, Any] = {}
        self.node: NodeFacts | None = None
        self._shared = shared
        self._known = known

    def fail(self, message: str) -> LanguageError:
        """An error with the instruction's place."""
        return LanguageError(message, self.instruction.file, self.instruction.line)

    def note(self, text: str) -> None:
        """A line for the submitter."""
        self._shared.notes.append(f"{self.instruction.file}:{self.instruction.line}: {text}")

    def word(self, raw: str, escape: str = "\\") -> str:
        """A source, or another word that must be known now."""
        templates = not self.flags.get("raw")
        return self._render(lambda: self._known.render(raw, escape, node=self.node, shield=True, templates=templates))

    def value(self, raw: str) -> str:
        """A flag's value: its quotes are gone already, and it is the same on all nodes."""
        try:
            templates = self.instruction.flags.get("raw") is not True
            return self._render(lambda: self._known.render(raw, quotes=False, templates=templates))
        except NodeNeededError:
            raise self.fail("a flag is the same on every node; expected no node and no facts in it") from None

    def _render(self, render: Callable[[], str]) -> str:
        try:
            return render()
        except (ValueError, VerbError) as error:
            raise self.fail(str(error)) from None

    def target(self, expression: str) -> list[str]:
        """Nodes of an expression."""
        try:
            return self._shared.settle(expression)
        except TargetSyntaxError as error:
            raise self.fail(str(error)) from None
        except NoTargetError as error:
            line = self.instruction.line
            raise NoTargetError(f"{self.instruction.file}:{line}: {error}", line) from None

    def nodes(self) -> list[str]:
        """All nodes of the job."""
        return self._shared.members

    def content(self, data: bytes) -> Entry:
        """Keep bytes that the step needs."""
        digest, size = self._shared.blobs.put_bytes(data)
        entry = Entry("", "file", size=size, digest=digest)
        self.need(entry)
        self._shared.made.add(digest)
        return entry

    def content_path(self, digest: str) -> str:
        """Where a content is."""
        return self._shared.blobs.path(digest)

    def need(self, entry: Entry) -> None:
        """The step needs it."""
        if entry.digest:
            self._shared.needed[entry.digest] = entry.size

    def download(self, url: str, checksum: str) -> Entry:
        """Fetch once in this plan."""
        want = Want("", url, (checksum,))
        if self._shared.faults:
            return Entry("", "file")
        if want not in self._shared.answers:
            try:
                digest, size = download(url, checksum, self._shared.blobs)
            except DirectorError as error:
                raise self.fail(str(error)) from None
            self._shared.answers[want] = [Entry("", "file", size=size, digest=digest)]
        return self._shared.answers[want][0]

    # -- the step -----------------------------------------------------------------------------------------

    def step(self, stage: PlannedStage, nodes: Sequence[str]) -> Asking:
        """The step's row; yields the wants whose entries it needs."""
        instruction = self.instruction
        verb = verbs.load(instruction.verb)
        self._settle_flags(verb)
        body = self._parse(verb)
        if instruction.verb == "ARG" and self._shared.extend_args:
            body["extend"] = True  # as with the flag of that name
        self._check(verb, body)
        body.update((yield from self._sources(verb, body, nodes)))
        verb.strip(body)
        row: dict[str, Any] = {"verb": instruction.verb, "text": instruction.source or instruction.text}
        row.update(stage=stage.index, line=instruction.line, flags=self._left(verb), body=body)
        source = verbs.source_of(instruction.verb)
        if source is not None:
            self.content(source.data)
            row["own"] = [source.digest, len(source.data), source.path]
        if self.flags.get("name"):
            row["name"] = self.flags["name"]
        if stage.lane:
            row.update(lane=stage.lane, group=stage.group)
        return row

    def _parse(self, verb: Verb) -> dict[str, Any]:
        try:
            return self._parsed(verb)
        except NodeNeededError:
            raise self.fail(
                f"{verb.name} needs a word that is the same on every node; expected no node and no facts in it"
            ) from None

    def _parsed(self, verb: Verb) -> dict[str, Any]:
        source = verbs.source_of(self.instruction.verb)
        if source is None:
            return verb.parse(self.instruction, self)
        try:
            body = verb.parse(self.instruction, self)
            if not isinstance(body, dict):
                raise TypeError(f"parse gave {type(body).__name__}; expected a dict")
            return body
        except (DirectorError, NodeNeededError):
            raise
        except Exception as error:
            place = place_of(error, source.path)
            raise self.fail(f"{verb.name} cannot be used: {place}: {type(error).__name__}: {error}") from error

    def _settle_flags(self, verb: Verb) -> None:
        table = verbs.flag_table()[self.instruction.verb]
        plain = {
            name: str(value) if table[name].kind == "rest" else value for name, value in self.instruction.flags.items()
        }
        try:
            self.flags = flag_reader.settle(plain, table, self.value)
        except ValueError as error:
            raise self.fail(str(error)) from None
        for name in _KEPT & self.flags.keys():
            if not is_arg_name(self.flags[name]):
                raise self.fail(f"--{name}={self.flags[name]} is no name for an ARG; expected one like RESULT")
        if self.flags.get("timeout") == 0 and "timeout" not in verb.owned:
            raise self.fail("--timeout 0 leaves no time; expected more, such as 30s")
        if self.flags.get("help"):
            raise self.fail(
                f"--help prints a manual and is no step; expected director --exec '{verb.name} --help' alone"
            )

    def _left(self, verb: Verb) -> dict[str, Any]:
        """The flags that travel: those that neither the planner nor the verb's body took."""
        return {n: v for n, v in self.flags.items() if v is not False and n not in verb.owned and n not in _OWN}

    def _check(self, verb: Verb, body: Mapping[str, Any]) -> None:
        if self.flags.get("raw"):
            return
        escape = body.get("escape", "\\")
        for kind, raw in verb.raws(body):
            try:
                if kind == "text":
                    check(raw)
                else:
                    check_word(raw, escape, quotes=kind == "word")
            except ValueError as error:
                raise self.fail(str(error)) from None
        misplaced = flag_reader.misplaced(self.instruction.text, verbs.flag_table()[self.instruction.verb])
        for word in misplaced:
            text = f"{word} stands behind the first argument and belongs to the command"
            self._shared.warnings.append(f"{self.instruction.file}:{self.instruction.line}: {text}")

    def _sources(self, verb: Verb, body: dict[str, Any], nodes: Sequence[str]) -> Asking:
        try:
            wants = list(verb.wants(body, self))
        except NodeNeededError:
            if self._shared.faults:
                return {}
            return (yield from self._sources_per_node(verb, body, nodes))
        answers = yield from self._ask(wants)
        return verb.sources(body, answers, self)

    def _sources_per_node(self, verb: Verb, body: dict[str, Any], nodes: Sequence[str]) -> Asking:
        """Nodes with the same sources share them."""
        sets: list[dict[str, Any]] = []
        members: dict[str, int] = {}
        known: dict[str, int] = {}
        for name in nodes:
            self.node = NodeFacts(name, self._shared.roster.labels(name), self._shared.roster.facts(name))
            wants = list(verb.wants(body, self))
            answers = yield from self._ask(wants)
            found = verb.sources(body, answers, self)
            key = repr(found)
            if key not in known:
                known[key] = len(sets)
                sets.append(found)
            members[name] = known[key]
        self.node = None
        return per_node(sets, members, self)

    def _ask(self, wants: Sequence[Want]) -> Asking:
        answers = []
        for want in wants:
            if want not in self._shared.answers:
                if want in self._shared.missing:
                    raise self.fail(self._shared.missing[want])
                self._shared.asked += 1
                try:
                    entries = yield self._shared.asked, want, self.instruction.file, self.instruction.line
                except LanguageError as error:
                    self._shared.missing[want] = error.message
                    raise
                self._shared.answers[want] = list(entries)
            answers.append(self._shared.answers[want])
        return answers

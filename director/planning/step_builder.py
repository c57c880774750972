"""Builds the step of one instruction: reads its flags, body and sources, and checks every raw text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from director import verbs
from director.errors import DirectorError, LanguageError
from director.labels import changed
from director.language import flags as flag_reader
from director.language.error_list import Faults
from director.language.instructions import Instruction
from director.language.scope import is_arg_name
from director.language.substitution import check, check_shell, check_word, secrets_in, used_names
from director.planning.context import Context, NodeFacts, NodeNeededError
from director.planning.downloads import download
from director.planning.plan import PlannedStage
from director.planning.stages import located
from director.protocol.sealing import NAME, missing
from director.targets import RosterView
from director.transfer.blob_lists import of_sets
from director.transfer.blobs import BlobStore
from director.verbs.base import Entry, Verb, Want
from director.verbs.own import place_of
from director.verbs.source_lists import per_node

#: common flags that only the planner uses
_OWN = frozenset(("name", "run-once", "force-lock", "help"))
#: common flags whose value is the name of an ARG
_ARG_FLAGS = frozenset(("stdout-arg", "stderr-arg"))

_CHECKS = {"text": check, "shell": check_shell}  # by kind of raw text; those of other kinds have quotes of our own

Request = tuple[int, Want, str, int]  # number, what to read, file and line of the instruction
Reading = Generator[Request, list[Entry], Any]


@dataclass(slots=True)
class PlanState:
    """What all steps of one plan share.

    Attributes:
        folder: absolute; relative sources start from it.
        resolve: gives the nodes of a target expression or an earlier stage.
        faults: the errors of the text so far; when there is one no plan is made.
        members: all nodes of the job.
        extend_args: whether ARGs append to lists and merge mappings.
        bounded: the submitter has some nodes only: it gets no content for a digest, and none of the server's services.
        notes: lines for the submitter.
        warnings: lines for `--plan`.
        own: sha256 to size in bytes of the blobs that a step needs on some of its nodes only.
        made: the sha256 of those that the planner made: lists of files, own verbs.
        answers: the entries of each want that was read.
        missing: why a want could not be read.
        asked: how many wants were requested.
        secrets: the names of those that the submitter has given.
        explain: nothing will be run: warn of those that it must give.
        labelled: by node, the labels that the steps so far set.
    """

    roster: RosterView
    blobs: BlobStore
    folder: str
    resolve: Callable[[str], list[str]]
    faults: Faults
    members: list[str] = field(default_factory=list)
    extend_args: bool = False
    bounded: bool = False
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    own: dict[str, int] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    answers: dict[Want, list[Entry]] = field(default_factory=dict)
    missing: dict[Want, str] = field(default_factory=dict)
    asked: int = 0
    secrets: Collection[str] = ()
    explain: bool = False
    labelled: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(slots=True)
class _Sets:
    """Different values, and by node the number of the one that it has."""

    sets: list[dict[str, Any]] = field(default_factory=list)
    members: dict[str, int] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)

    def add(self, node: str, found: dict[str, Any]) -> None:
        """A node's value."""
        number = self._numbers.setdefault(repr(found), len(self.sets))
        if number == len(self.sets):
            self.sets.append(found)
        self.members[node] = number


class StepBuilder:
    """Builds the step of one instruction; the `Planning` of its verb.

    Attributes:
        needed: name to size in bytes of the blobs that the step needs.
        secrets: the names of those that the step uses.
    """

    def __init__(self, instruction: Instruction, state: PlanState, context: Context) -> None:
        self.instruction = instruction
        self.folder = state.folder
        self.flags: dict[str, Any] = {}
        self.node: NodeFacts | None = None
        self.labels: dict[str, Any] | None = None
        self.needed: dict[str, int] = {}
        self.secrets: set[str] = set()
        self._state = state
        self._context = context

    def fail(self, message: str) -> LanguageError:
        """An error with the file and line of the instruction."""
        return LanguageError(message, self.instruction.file, self.instruction.line)

    def note(self, text: str) -> None:
        """Add a line for the submitter."""
        self._state.notes.append(str(self.fail(text)))

    def word(self, raw: str, escape: str = "\\") -> str:
        """A raw word rendered when planning, such as a source. Raises LanguageError, NodeNeededError."""
        return self._render(raw, escape, node=self.node, shield=True, templates=not self.flags.get("raw"))

    def fixed(self, raw: str, escape: str = "\\") -> str:
        """A raw word rendered with what no node has a say in. Raises LanguageError, NodeNeededError."""
        templates = not self.flags.get("raw")
        try:
            said = used_names(raw, escape, templates=templates) - self._context.fixed - {"node"}
        except ValueError as error:
            raise self.fail(str(error)) from None
        if said:
            raise self.fail(
                f"{min(said)} is not set by the file or --arg alone, and what a node says makes no label; expected a "
                "value known when planning; or use director --label-node, or a target such as fact:os.id=debian"
            )
        return self._render(raw, escape, node=self.node, templates=templates)

    def value(self, raw: str) -> str:
        """A flag's value rendered; it has no quotes left and is the same for all nodes. Raises LanguageError."""
        try:
            return self._render(raw, quotes=False, templates=self.instruction.flags.get("raw") is not True)
        except NodeNeededError:
            raise self.fail("a flag is the same on every node; expected no node and no facts in it") from None

    def _render(self, raw: str, escape: str = "\\", **options: Any) -> str:
        with located(self.instruction.file, self.instruction.line):
            return self._context.render(raw, escape, **options)

    def target(self, expression: str) -> list[str]:
        """The nodes of a target expression or an earlier stage. Raises LanguageError, NoTargetError."""
        with located(self.instruction.file, self.instruction.line):
            return self._state.resolve(expression)

    def nodes(self) -> list[str]:
        """All nodes of the job."""
        return self._state.members

    def content(self, data: bytes) -> Entry:
        """Store bytes that the step needs. Raises StoreError when the disk is full."""
        digest, size = self._state.blobs.put_bytes(data)
        entry = Entry("", "file", size=size, digest=digest)
        self.need(entry)
        self._state.made.add(digest)
        return entry

    def content_path(self, digest: str) -> str:
        """The path of a blob."""
        return self._state.blobs.path(digest)

    def secret(self, name: str) -> None:
        """Note that the step uses a secret. Raises LanguageError."""
        if not NAME.fullmatch(name):
            raise self.fail(f"{name[:80]!r} is no name for a secret; expected a letter, then letters, digits, _ . or -")
        if why := missing([name], self._state.secrets):
            if not self._state.explain:
                raise self.fail(why)
            self._state.warnings.append(str(self.fail(why)))
        self.secrets.add(name)

    def need(self, entry: Entry) -> None:
        """Note that the step needs the blob of an entry."""
        if entry.digest:
            digest, size = entry.blob
            self.needed[digest] = size

    def download(self, url: str, checksum: str) -> Entry:
        """Download a URL, once in a plan. Raises LanguageError."""
        want = Want("", url, (checksum,))
        if self._state.faults:
            return Entry("", "file")
        if want not in self._state.answers:
            try:
                digest, size = download(url, checksum, self._state.blobs, self._state.bounded)
            except DirectorError as error:
                raise self.fail(str(error)) from None
            self._state.answers[want] = [Entry("", "file", size=size, digest=digest)]
        return self._state.answers[want][0]

    def step(self, stage: PlannedStage, nodes: Sequence[str]) -> Reading:
        """The row of the step; yields requests for the entries of its sources.

        Raises:
            LanguageError, NoTargetError: with file and line.
        """
        instruction = self.instruction
        verb = verbs.load(instruction.verb)
        self._resolve_flags(verb)
        body = self._parse(verb)
        if verb.sets == "arg" and self._state.extend_args:
            body["extend"] = True  # as with the flag of that name
        self._check(verb, body)
        for name, _ in body["pairs"] if verb.sets == "arg" and body.get("secret") else ():
            if name in self._context.overrides:
                raise self.fail(
                    f"--arg {name}=… is kept in clear, and ARG --secret {name} is not; use --secret id={name},…"
                )
        body.update((yield from self._sources(verb, body, nodes)))
        self.labels = self._labels(verb, body, nodes)
        verb.strip(body)
        row: dict[str, Any] = {"verb": instruction.verb, "text": instruction.source or instruction.text}
        row.update(stage=stage.index, line=instruction.line, flags=self._left(verb), body=body)
        if source := verb.source:
            self.content(source.data)
            row["own"] = [source.digest, len(source.data), source.path]
        if self.flags.get("name"):
            row["name"] = self.flags["name"]
        if stage.name:
            row["stage_name"] = stage.name
        if stage.lane:
            row.update(lane=stage.lane, group=stage.group)
        if self.secrets:
            row["secrets"] = sorted(self.secrets)
        return row

    def _parse(self, verb: Verb) -> dict[str, Any]:
        try:
            body = verb.parse(self.instruction, self)
            if not isinstance(body, dict):
                raise TypeError(f"parse gave {type(body).__name__}; expected a dict")
            return body
        except NodeNeededError:
            needed = "a word that is the same on every node; expected no node and no facts in it"
            raise self.fail(f"{verb.name} needs {needed}") from None
        except DirectorError:
            raise
        except Exception as error:
            if verb.source is None:
                raise
            place = place_of(error, verb.source.path)
            raise self.fail(f"{verb.name} cannot be used: {place}: {type(error).__name__}: {error}") from error

    def _resolve_flags(self, verb: Verb) -> None:
        with located(self.instruction.file, self.instruction.line):
            table, written = verb.flag_table, self.instruction.flags.items()
            plain = {name: str(value) if table[name].kind == "rest" else value for name, value in written}
            self.flags = flag_reader.resolve(plain, table, self.value)
        for name in _ARG_FLAGS & self.flags.keys():
            if not is_arg_name(self.flags[name]):
                raise self.fail(f"--{name}={self.flags[name]} is no name for an ARG; expected one like RESULT")
        if self.flags.get("timeout") == 0 and "timeout" not in verb.owned:
            raise self.fail("--timeout 0 leaves no time; expected more, such as 30s")
        if self.flags.get("help"):
            raise self.fail(
                f"--help prints a manual and is not a step; expected director --exec '{verb.name} --help' alone"
            )

    def _left(self, verb: Verb) -> dict[str, Any]:
        """The flags for the nodes: those that neither the planner nor the verb's body uses."""
        return {n: v for n, v in self.flags.items() if v is not False and n not in verb.owned and n not in _OWN}

    def _check(self, verb: Verb, body: Mapping[str, Any]) -> None:
        if self.flags.get("raw"):
            return
        escape = body.get("escape", "\\")
        for kind, raw in verb.raws(body):
            with located(self.instruction.file, self.instruction.line):
                self._check_secrets(kind, raw)
                if kind in _CHECKS:
                    _CHECKS[kind](raw)
                else:
                    check_word(raw, escape, quotes=kind == "word")
        for word in flag_reader.misplaced(self.instruction.text, verb.flag_table):
            text = f"{word} is behind the first argument and so belongs to the command"
            self._state.warnings.append(str(self.fail(text)))

    def _check_secrets(self, kind: str, raw: str) -> None:
        """Note the secrets that a text uses; only what is written into a file may. Raises ValueError, LanguageError."""
        for name in secrets_in(raw):
            if kind != "document":
                raise ValueError(
                    "secret() stands in files with --blueprint and in here-documents of COPY and ADD only; for a "
                    f'command write RUN --mount=type=secret,id={name},env=VARIABLE, and "$VARIABLE" in it'
                )
            self.secret(name)

    def _sources(self, verb: Verb, body: dict[str, Any], nodes: Sequence[str]) -> Reading:
        try:
            return (yield from self._read_sources(verb, body))
        except NodeNeededError:
            return {} if self._state.faults else (yield from self._sources_per_node(verb, body, nodes))

    def _read_sources(self, verb: Verb, body: dict[str, Any]) -> Reading:
        answers = yield from self._ask(list(verb.wants(body, self)))
        return verb.sources(body, answers, self)

    def _sources_per_node(self, verb: Verb, body: dict[str, Any], nodes: Sequence[str]) -> Reading:
        """The sources of a body that differ from node to node; nodes with the same sources share them."""
        found, for_all = _Sets(), self.needed
        contents: list[dict[str, int]] = []
        for name in self._each(nodes):
            self.needed = {}
            found.add(name, (yield from self._read_sources(verb, body)))
            if len(found.sets) > len(contents):
                contents.append(self.needed)
        self.needed = for_all
        made = per_node(found.sets, found.members, self)
        self._need_by_set(made["per_node"]["sets"], contents, found.members)
        return made

    def _need_by_set(
        self, sets: Sequence[Mapping[str, Any]], contents: Sequence[dict[str, int]], members: Mapping[str, int]
    ) -> None:
        """Note which blobs the nodes of each set need, the list of its files included where it is a blob."""
        for one, needed in zip(sets, contents, strict=True):
            if "manifest" in one:
                self.needed.pop(one["manifest"]["digest"], 0)
                needed[one["manifest"]["digest"]] = one["manifest"]["size"]
            self._state.own.update(needed)
        name, size = of_sets(members, contents, self._state.blobs)
        self.needed[name] = size

    def _labels(self, verb: Verb, body: Mapping[str, Any], nodes: Sequence[str]) -> dict[str, Any] | None:
        """As `PlannedStep.labels`."""
        found = _Sets()
        try:
            labels = verb.labels(body, self)
            if labels is None:
                return None
            found.sets.append(labels)
        except NodeNeededError:
            for name in self._each(nodes):
                found.add(name, verb.labels(body, self) or {})
        if not self.flags.get("run-once"):
            for name in nodes if found.sets else ():
                self._state.labelled.setdefault(name, {}).update(found.sets[found.members.get(name, 0)])
        return {"sets": found.sets, "of": found.members}

    def _each(self, nodes: Sequence[str]) -> Iterator[str]:
        """The nodes, each while it is the one that texts are rendered for."""
        roster, labelled = self._state.roster, self._state.labelled
        for name in nodes:
            known = changed(roster.labels(name), labelled.get(name, {}))
            self.node = NodeFacts(name, known, roster.facts(name))
            yield name
        self.node = None

    def _ask(self, wants: Sequence[Want]) -> Reading:
        answers = []
        for want in wants:
            if want not in self._state.answers:
                if want in self._state.missing:
                    raise self.fail(self._state.missing[want])
                self._state.asked += 1
                try:
                    entries = yield self._state.asked, want, self.instruction.file, self.instruction.line
                except LanguageError as error:
                    self._state.missing[want] = error.message
                    raise
                self._state.answers[want] = list(entries)
            answers.append(self._state.answers[want])
        return answers

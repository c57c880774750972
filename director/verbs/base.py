"""What a verb is: a class that parses its argument on the server and applies it on a node.

To add a verb write a file beside this one with a subclass of `Verb`, a row in `director/verbs/__init__.py`, a golden
case in `tests/verbs/test_verb_bodies.py` and a step in `docs/examples/every-verb.yaml`, and run `scripts/docs`. The
docstring of the class is the verb's manual.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from director.errors import VerbError
from director.language.flags import Flag
from director.language.instructions import Instruction, Syntax
from director.verbs.interface import Argument, Entry, Fetched, Node, Outcome, Planning, Want, cached, failed, success  # noqa: F401

Answers = Sequence[Sequence[Entry]]  # the entries of each `Want`

COMMON_FLAGS: tuple[Flag, ...] = (
    Flag("timeout", "duration", "end the task after this long (default: the job's --timeout)"),
    Flag("skip-cache", "bool", "run this step even when it is cached", default=False),
    Flag("run-once", "bool", "run on one node of the stage while the others wait", default=False),
    Flag("name", "str", "a name for the step, shown by --job-info"),
    Flag("ignore-errors", "bool", "go on after a failure, which does not fail the job", default=False),
    Flag("raw", "bool", "do not render templates: leave braces as they are", default=False),
    Flag("stdout-arg", "str", "keep the standard output as this ARG", metavar="NAME"),
    Flag("stderr-arg", "str", "keep the standard error as this ARG", metavar="NAME"),
    Flag("force-lock", "bool", "no effect: a node never runs two steps of an entry at once", default=False),
    Flag("help", "bool", "print the verb's manual and submit nothing", default=False),
)


@dataclass(frozen=True, slots=True)
class Source:
    """The file of an own verb, which nodes fetch by its sha256 hex digest."""

    path: str
    data: bytes
    digest: str


class Verb(Syntax):
    """Base of every verb. All that other modules must know of a verb stands in its class; none of them names a verb.

    How an instruction is written is described by the attributes of `Syntax`; these describe what a step does:

    Attributes:
        name: upper case.
        argument: reads the argument into the body: `TEXT`, `PAIRS` or a `Words` of `director.verbs.arguments`.
        exclusive: groups of flags, of which at most one of each may be given.
        flags: its own flags; one with the name of a common flag replaces it.
        complete: it needs neither an argument nor a flag.
        always: it only sets values: it is applied each time, and has changed only if a value has.
        compares: `apply` compares with the node: it is applied each time, and has changed the node unless cached.
        trusts_chain: the node does not show whether the step's result still holds: when it and the steps before it
            are those that ran last, it is cached and not applied. A verb with none of these three is applied each time.
        actions: flags that ask for an action, such as a restart, of which the node does not show whether it was done:
            while the step and those before it are those that ran last, `apply` gets them as False.
        pure: `apply` changes nothing on the node.
        looks: it changes nothing on the machine and runs no program, so it may run on a node with `--read-only`.
        diffs: the standard error of `foresee` is a diff of what would change.
        gathers: it asks for values of all nodes with `Node.query`.
        restarts: it restarts the host.
        owned: flags that `parse` takes over into the body; they do not travel.
        source: the file of an own verb.
    """

    name: ClassVar[str] = ""
    argument: ClassVar[Argument | None] = None
    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = ()
    flags: ClassVar[tuple[Flag, ...]] = ()
    complete: ClassVar[bool] = False
    always: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    trusts_chain: ClassVar[bool] = False
    actions: ClassVar[frozenset[str]] = frozenset()
    pure: ClassVar[bool] = False
    looks: ClassVar[bool] = False
    diffs: ClassVar[bool] = False
    gathers: ClassVar[bool] = False
    restarts: ClassVar[bool] = False
    owned: ClassVar[frozenset[str]] = frozenset()
    source: Source | None = None

    @cached_property
    def flag_table(self) -> Mapping[str, Flag]:  # type: ignore[override]
        """The flags by name and alias, common ones included."""
        table = {flag.name: flag for flag in (*COMMON_FLAGS, *self.flags)}
        return table | {alias: flag for flag in self.flags for alias in flag.aliases}

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """The body that travels to the nodes, plain JSON. A subclass adds what `argument` and `exclusive` cannot say.

        Raises:
            LanguageError: what is wrong and what was expected, made by `planning.fail(…)`.
        """
        for group in self.exclusive:
            given = [f"--{name}" for name in group if planning.flags.get(name)]
            if len(given) > 1:
                raise planning.fail(f"{self.name} cannot do {given[0]} and {given[1]} at once; expected one of them")
        if self.argument is None:
            raise planning.fail(f"{self.name} is not known here")
        return self.argument(instruction, planning)

    def raws(self, body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Every raw text in the body that is rendered on a node, with its kind. The planner checks them.

        Kinds: `word` (`Node.word`), `text` (`Node.text`), `shell` (`Node.shell`), `document` (`Node.document`).
        """
        for key in ("text", "user", "name", "dest"):
            if isinstance(body.get(key), str):
                yield "word", body[key]
        for key in ("words", "shell", "paths"):
            yield from (("word", word) for word in body.get(key, ()))
        yield from (("word", part) for pair in body.get("pairs", ()) for part in pair if part)

    def wants(self, body: Mapping[str, Any], planning: Planning) -> Iterable[Want]:
        """Files that the step needs from the submitter; called once, or for each node where sources use `node`.

        Raises LanguageError, as `parse`.
        """
        return ()

    def sources(self, body: Mapping[str, Any], answers: Answers, planning: Planning) -> dict[str, Any]:
        """Additions to the body: `answers` has the entries of each of `wants`. Raises LanguageError, as `parse`."""
        return {}

    def strip(self, body: dict[str, Any]) -> None:
        """Take out of the body what only the planner needs."""

    def exchange(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """Take out of the body what the server needs for a node transfer, and no node may choose; None for none."""
        return None

    def labels(self, body: Mapping[str, Any], planning: Planning) -> dict[str, str] | None:
        """Labels that the node has once the step has succeeded, made of `planning.fixed`; None for none.

        Called once, or for each node where the text uses `node`; an empty value removes a label. Raises LanguageError.
        """
        return None

    def barrier(self, body: Mapping[str, Any]) -> bool:
        """Whether the step starts only when all nodes have ended the steps before it."""
        return False

    def only_reads(self, body: Mapping[str, Any]) -> bool:
        """Whether a step with this body may run on a node with `--read-only`; a server may have made the body up."""
        return self.looks

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Apply the step on the node.

        Raises:
            VerbError: the reason of a failure, in one line.
        """
        raise VerbError(f"{self.name} cannot run on a node")

    def foresee(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome | None:
        """What `apply` would return, without changing anything (`--plan`); None when only a run can tell.

        The reason of a success says what would be done. Raises VerbError, as `apply`.
        """
        return self.apply(body, flags, node) if self.pure else None

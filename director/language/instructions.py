"""How a verb's instruction is written, and what both readers make of a text: instructions in stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of a verb.

    Attributes:
        name: as written, without the leading dashes (`skip-cache`); in YAML `vars` with underscores.
        kind: `bool`, `str`, `int`, `count` (not below 0), `duration` (seconds, float), `ints` (comma list) or `words`
            (comma list).
        help: one line for the manual.
        repeatable: whether it may be given several times; the value is a list in the order written.
        aliases: other spellings (`retries` for `retry`).
        default: the value when it is not written.
        metavar: how the manual names the value.
        per_node: whether the value may differ per node: one with templates or `$X` reaches the verb as written, is a
            `document` in its `raws` and is rendered on the node (`Node.document`). For the kind `str` only.
    """

    name: str
    kind: str = "str"
    help: str = ""
    repeatable: bool = False
    aliases: tuple[str, ...] = ()
    default: Any = None
    metavar: str = ""
    per_node: bool = False


class Syntax:
    """How a verb's instruction is written; `director.verbs.base.Verb` derives from it."""

    #: what an error names when the argument is missing, such as "a command"; "" when it may be missing
    needs: ClassVar[str] = ""
    #: the argument may be a JSON list of strings; a word: such a list may follow this word (`CMD ["a"]`)
    json_form: ClassVar[bool | str] = False
    #: `<<NAME` in the argument begins a here-document
    heredocs: ClassVar[bool] = False
    #: the argument is `NAME=VALUE` pairs, and in YAML it may be a mapping
    mapping: ClassVar[bool] = False
    #: the argument is a command of the operator, and values of the job are its environment
    command: ClassVar[bool] = False
    #: which values of the job its pairs set: "arg" or "env"; "other": names that only the node knows; "" for none
    sets: ClassVar[str] = ""

    #: the flags by name and alias, those of every verb included
    flag_table: Mapping[str, Flag] = {}


_NONE = Syntax()


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document.

    Attributes:
        name: the delimiter, which is the file's name for COPY and ADD.
        content: the text, without leading tabs for `<<-`.
        expand: whether `$X` and braces are replaced, as the delimiter is not quoted.
        fd: the file descriptor before `<<`, 0 when there is none.
        chomp: whether it is `<<-`, which drops leading tabs.
    """

    name: str
    content: str
    expand: bool = True
    fd: int = 0
    chomp: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction as written.

    Attributes:
        verb: upper case.
        flags: the written flags, name to converted value; aliases are resolved, repeatable flags are lists.
        text: the argument behind the flags, with continuations joined.
        args: the strings of the JSON form, None for the shell form.
        heredocs: in the order of the text.
        file, line: where it begins, from line 1.
        form: `containerfile` or `yaml`.
        escape: the escape character, backslash or backtick.
        pairs: the mapping that is the verb's value, in YAML.
        assign: target expressions of the step, in YAML.
        source: the whole instruction as written, for `--job-info`.
        syntax: what the reader knows of the verb.
    """

    verb: str
    flags: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    args: tuple[str, ...] | None = None
    heredocs: tuple[Heredoc, ...] = ()
    file: str = "exec"
    line: int = 1
    form: str = "containerfile"
    escape: str = "\\"
    pairs: tuple[tuple[str, Any], ...] | None = None
    assign: tuple[str, ...] = ()
    source: str = ""
    syntax: Syntax = _NONE


@dataclass(slots=True)
class Stage:
    """The instructions between one FROM and the next, or one entry of a YAML list.

    Attributes:
        targets: expressions, whose union it is; () for the default of the submission.
        name: of `AS name` or the entry's `name`, else "".
        instructions: without the FROM itself.
        line: of the FROM or the entry.
        asynchronous: YAML `async: true`.
        platform: of `FROM --platform`, else "".
    """

    targets: tuple[str, ...] = ()
    name: str = ""
    instructions: list[Instruction] = field(default_factory=list)
    line: int = 1
    asynchronous: bool = False
    platform: str = ""


@dataclass(slots=True)
class Document:
    """One orchestration text.

    Attributes:
        stages: in order; a text without FROM has one stage without targets.
        globals: the ARGs before the first FROM.
        file: its name as the user gave it.
    """

    stages: list[Stage]
    globals: list[Instruction] = field(default_factory=list)
    file: str = "exec"

"""The result of both readers: instructions in stages, with their files and lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from director.language.syntax import Syntax

_NONE = Syntax()


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document.

    Attributes:
        name: the delimiter, which is the file's name for COPY and ADD.
        content: the text, without leading tabs for `<<-`.
        expand: whether `$X` and braces are replaced, as the delimiter is not quoted.
        fd: the file descriptor before `<<`, 0 when there is none.
    """

    name: str
    content: str
    expand: bool = True
    fd: int = 0


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

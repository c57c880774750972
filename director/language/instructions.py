"""What both readers make of a text: instructions in stages, with the places they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document of RUN, COPY or ADD.

    Attributes:
        name: the delimiter, which is the file's name for COPY and ADD.
        content: the text, tabs already dropped for `<<-`.
        expand: `$X` and braces are replaced (the delimiter was not quoted).
        fd: file descriptor before `<<`, 0 when none was written.
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
        flags: name to value, typed after the verb's `Flag` table, aliases resolved; repeatable ones are
            lists. Only flags that were written.
        text: the argument behind the flags with continuations joined, as it would be shown.
        args: the JSON form's strings, or None for shell form.
        heredocs: in the order of the text.
        file, line: where it begins (1-based).
        form: `containerfile` or `yaml`.
        escape: the escape character, backslash or backtick.
        pairs: YAML only: a mapping given as the verb's value.
        source: the whole instruction as written, for job-info (`text` of a step).
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


@dataclass(slots=True)
class Stage:
    """The instructions between one FROM and the next, or one entry of a YAML list.

    Attributes:
        targets: expressions joined by union; empty means the submission's default.
        name: of `AS name` or the entry's `name`, "" when none.
        instructions: without the FROM itself.
        line: of the FROM or the entry.
        asynchronous: YAML `async: true`.
        platform: of `FROM --platform`, "" when none.
    """

    targets: tuple[str, ...] = ()
    name: str = ""
    instructions: list[Instruction] = field(default_factory=list)
    line: int = 1
    asynchronous: bool = False
    platform: str = ""


@dataclass(slots=True)
class Document:
    """One orchestration text, read.

    Attributes:
        stages: in order; a text without FROM has one with no targets.
        globals: the ARGs before the first FROM.
        file: its name as the user gave it.
    """

    stages: list[Stage]
    globals: list[Instruction] = field(default_factory=list)
    file: str = "exec"

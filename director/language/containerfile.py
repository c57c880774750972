"""Reads a Directorfile: the Containerfile's grammar, line by line, into stages of instructions."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace

from director import ids
from director.errors import LanguageError
from director.language import foreign, words
from director.language.builder import build
from director.language.error_list import Faults
from director.language.flags import take
from director.language.heredocs import Opening, openings
from director.language.instructions import Document, Heredoc, Instruction, Stage
from director.language.lines import Line, Lines
from director.language.syntax import Flag, Syntax

_FIRST = re.compile(r"[\t\v\f\r ]+")
_HELP = re.compile(r"--help(?:\s|$)")
_FROM_FLAGS = {"platform": Flag("platform", "str", "only nodes of this os/arch", metavar="OS/ARCH")}


def read(text: str, file: str, verbs: Mapping[str, Syntax], faults: Faults) -> Document:
    """The document of a text in Containerfile form, without the wrong instructions, whose errors go to `faults`.

    Raises:
        LanguageError: a directive is wrong, or there is no instruction.
        LanguageErrors: `faults` has collected as many errors as it takes.
    """
    document = Document([], file=file)
    before: list[Instruction] = []
    stage: Stage | None = None
    lines = Lines(text, file)
    for line in lines:
        verb, rest = _verb(line.text)
        if verb == "FROM" and not (_HELP.match(rest) and "FROM" in verbs):
            if stage is None:
                document.globals = _only_args(before, faults)
            stage = Stage(line=line.number)  # if the FROM is wrong, its steps are still read
            with faults.caught():
                stage = _stage(rest, line.number, file)
            document.stages.append(stage)
            continue
        with faults.caught():
            instruction = _instruction(verb, rest, line, lines, verbs)
            (before if stage is None else stage.instructions).append(instruction)
    if stage is None:
        if not before and not faults:
            raise LanguageError("there is no instruction; expected a line such as RUN uptime", file, 1)
        document.stages.append(Stage(instructions=before, line=before[0].line if before else 1))
    return document


def _verb(text: str) -> tuple[str, str]:
    first, *rest = _FIRST.split(text.strip(words.BLANKS), 1)
    return first.upper(), rest[0] if rest else ""


def _instruction(verb: str, rest: str, line: Line, lines: Lines, verbs: Mapping[str, Syntax]) -> Instruction:
    file, number = lines.file, line.number
    syntax = verbs.get(verb)
    if syntax is None:
        _pass_over(line, lines)
        word = line.text.strip(words.BLANKS)[: len(verb)]
        raise LanguageError(foreign.unknown(word, verbs), file, number)
    has_heredocs = syntax.heredocs and "<<" in line.text
    try:
        source = line.text.strip()
        made = build(verb, rest, syntax, file=file, line=number, escape=lines.escape, source=source)
        return _with_heredocs(made, openings(line.text), lines) if has_heredocs and made.args is None else made
    except ValueError as error:
        if has_heredocs:
            _pass_over(line, lines)
        raise LanguageError(str(error), file, number) from None


def _pass_over(line: Line, lines: Lines) -> None:
    """Skip the here-documents of a wrong instruction, so that their lines are not read as instructions."""
    with contextlib.suppress(ValueError):
        lines.skip(openings(line.text))


def _with_heredocs(made: Instruction, opened: list[Opening], lines: Lines) -> Instruction:
    """The instruction with the here-documents that follow its line."""
    heredocs: list[Heredoc] = []
    source = [made.source]
    for opening in opened:
        content = lines.heredoc(opening, made.line)
        heredocs.append(Heredoc(opening.name, content, opening.expand, opening.fd))
        source += [content.removesuffix("\n"), opening.name] if content else [opening.name]
    return replace(made, heredocs=tuple(heredocs), source="\n".join(source)) if heredocs else made


def _only_args(before: list[Instruction], faults: Faults) -> list[Instruction]:
    for instruction in before:
        if instruction.syntax.sets != "arg":
            message = f"{instruction.verb} is before the first FROM, where only ARG may be; move it behind"
            faults.add(LanguageError(message, instruction.file, instruction.line))
    return [instruction for instruction in before if instruction.syntax.sets == "arg"]


def _stage(text: str, line: int, file: str) -> Stage:
    """`FROM [--platform=os/arch] expression [AS name]`."""
    try:
        flags, text = take(text, _FROM_FLAGS, "FROM")
        expression, name = _as_name(text)
    except ValueError as error:
        raise LanguageError(str(error), file, line) from None
    return Stage((expression,), name, [], line, platform=flags.get("platform", ""))


def _as_name(text: str) -> tuple[str, str]:
    found = words.plain(text)
    if not found:
        raise ValueError("FROM has no argument; expected target nodes")
    if found[-1].upper() == "AS" or found[0].upper() == "AS":
        raise ValueError("AS has no targets or no name in FROM; expected FROM TARGETS AS NAME")
    if len(found) < 3 or found[-2].upper() != "AS":
        return text, ""
    if fault := ids.name_fault(found[-1]):
        raise ValueError(f"the stage's name {found[-1]!r} {fault}")
    return text[: -len(found[-1])].rstrip(words.BLANKS)[:-2].rstrip(words.BLANKS), found[-1]

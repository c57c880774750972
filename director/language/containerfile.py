"""Reads a Directorfile: the Containerfile's grammar, line by line, into stages of instructions.

`Lines` joins continued lines and leaves comments out; `read` makes instructions of them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from director import ids
from director.errors import LanguageError
from director.language import braces, foreign, words
from director.language.error_list import Faults
from director.language.flags import Flag, take
from director.language.heredocs import openings
from director.language.instructions import Document, Heredoc, Instruction, Stage, Syntax, build
from director.language.words import BLANKS

_FIRST = re.compile(r"[\t\v\f\r ]+")
_HELP = re.compile(r"--help(?:\s|$)")
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_KNOWN = frozenset(("escape", "syntax", "check"))
_OPEN_LINES = 200  # braces that are open for more lines than this are not a template
_TABS = re.compile(r"^\t+", re.MULTILINE)
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
            with faults.caught(file, line.number):
                stage = _stage(rest, line.number)
            document.stages.append(stage)
            continue
        with faults.caught(file, line.number):
            instruction = _instruction(verb, rest, line, lines, verbs)
            (before if stage is None else stage.instructions).append(instruction)
    if stage is None:
        if not before and not faults:
            raise LanguageError("there is no instruction; expected a line such as RUN uptime", file, 1)
        document.stages.append(Stage(instructions=before, line=before[0].line if before else 1))
    return document


def _verb(text: str) -> tuple[str, str]:
    first, *rest = _FIRST.split(text.strip(BLANKS), 1)
    return first.upper(), rest[0] if rest else ""


def _instruction(verb: str, rest: str, line: Line, lines: Lines, verbs: Mapping[str, Syntax]) -> Instruction:
    syntax = verbs.get(verb)
    has_heredocs = "<<" in line.text and (syntax is None or syntax.heredocs)
    try:
        if syntax is None:
            raise ValueError(foreign.unknown(line.text.strip(BLANKS)[: len(verb)], verbs))
        source = line.text.strip()
        made = build(verb, rest, syntax, file=lines.file, line=line.number, escape=lines.escape, source=source)
        return _with_heredocs(made, openings(line.text), lines) if has_heredocs and made.args is None else made
    except ValueError:
        if has_heredocs:  # skip them, so that their lines are not read as instructions
            with contextlib.suppress(ValueError):
                lines.skip(openings(line.text))
        raise


def _with_heredocs(made: Instruction, opened: list[Heredoc], lines: Lines) -> Instruction:
    """The instruction with the here-documents that follow its line."""
    heredocs: list[Heredoc] = []
    source = [made.source]
    for opening in opened:
        content = lines.heredoc(opening, made.line)
        heredocs.append(replace(opening, content=content))
        source += [content.removesuffix("\n"), opening.name] if content else [opening.name]
    return replace(made, heredocs=tuple(heredocs), source="\n".join(source)) if heredocs else made


def _only_args(before: list[Instruction], faults: Faults) -> list[Instruction]:
    for instruction in before:
        if instruction.syntax.sets != "arg":
            message = f"{instruction.verb} is before the first FROM, where only ARG may be; move it behind"
            faults.add(LanguageError(message, instruction.file, instruction.line))
    return [instruction for instruction in before if instruction.syntax.sets == "arg"]


def _stage(text: str, line: int) -> Stage:
    """`FROM [--platform=os/arch] expression [AS name]`. Raises ValueError."""
    flags, text = take(text, _FROM_FLAGS, "FROM")
    expression, name = _as_name(text)
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
    return text[: -len(found[-1])].rstrip(BLANKS)[:-2].rstrip(BLANKS), found[-1]


@dataclass(slots=True)
class Line:
    """One logical line, with continuations joined and without comments.

    Attributes:
        text: without the line break.
        number: of the first physical line, from 1.
    """

    text: str
    number: int


class Lines:
    """Iterates over the logical lines of a text.

    Attributes:
        escape: the escape character, set by `# escape=`.

    Raises:
        LanguageError: a directive is wrong.
    """

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.escape = "\\"
        self._lines = text.removeprefix("\ufeff").split("\n")
        self._next = 0
        self._seen: set[str] = set()
        self._continues = re.compile(r"(?<!\\)\\[ \t]*$")
        if self._lines[-1] == "":
            self._lines.pop()
        self._directives()

    def _directives(self) -> None:
        while self._next < len(self._lines):
            found = _DIRECTIVE.fullmatch(self._lines[self._next].strip(BLANKS))
            if not found or found.group(1).lower() not in _KNOWN:
                return
            self._next += 1
            self._obey(found.group(1).lower(), found.group(2))

    def _obey(self, name: str, value: str) -> None:
        if name in self._seen:
            raise LanguageError(f"# {name}= is given twice; expected it once", self.file, self._next)
        self._seen.add(name)
        if name != "escape":
            return
        if value not in ("\\", "`"):
            raise LanguageError(f"# escape={value} is not allowed; expected \\ or `", self.file, self._next)
        self.escape = value
        one = re.escape(value)
        self._continues = re.compile(rf"(?<!{one}){one}[ \t]*$")

    def __iter__(self) -> Iterator[Line]:
        while self._next < len(self._lines):
            text = self._lines[self._next].lstrip(BLANKS).rstrip("\r")
            self._next += 1
            if text and text[0] != "#":
                yield self._logical(text, self._next)

    def _logical(self, text: str, number: int) -> Line:
        if self.escape not in text:
            return Line(text, number)
        pieces: list[str] = []
        open_braces = False
        while found := self._continues.search(text):
            pieces.append(text[: found.start()])
            open_braces = self._still_open(open_braces, pieces)
            following = self._following(open_braces)
            if following is None:
                return Line("".join(pieces), number)
            text = following
        return Line("".join((*pieces, text)), number)

    @staticmethod
    def _still_open(before: bool, pieces: list[str]) -> bool:
        """Whether braces are open at the end of the last piece; `before`: whether they were at its start."""
        if len(pieces) > _OPEN_LINES or (not before and not braces.present(pieces[-1])):
            return False
        return braces.open_at_end("".join(pieces))

    def _following(self, open_braces: bool) -> str | None:
        """The next line that is neither empty nor a comment; inside of braces `#` begins no comment."""
        while self._next < len(self._lines):
            text = self._lines[self._next].rstrip("\r")
            self._next += 1
            bare = text.lstrip(BLANKS)
            if bare and (bare[0] != "#" or open_braces):
                return text
        return None

    def skip(self, opened: Iterable[Heredoc]) -> None:
        """Skip the here-documents of a wrong instruction, up to the first that is not closed."""
        for opening in opened:
            before = self._next
            try:
                self.heredoc(opening, before)
            except LanguageError:
                self._next = before
                return

    def heredoc(self, opening: Heredoc, number: int) -> str:
        """The lines up to the delimiter, which is skipped. Raises LanguageError when there is no delimiter."""
        content: list[str] = []
        while self._next < len(self._lines):
            line = self._lines[self._next]
            self._next += 1
            bare = line.rstrip("\r")
            if (bare.lstrip("\t") if opening.chomp else bare) == opening.name:
                text = "".join(content)
                return _TABS.sub("", text) if opening.chomp else text
            content.append(line + "\n")
        message = f"the heredoc <<{opening.name} is not closed; expected a line {opening.name} of its own"
        raise LanguageError(message, self.file, number)

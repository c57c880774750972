"""Splits a Directorfile into logical lines: directives, comments, continuations and here-documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from director.errors import LanguageError
from director.language import braces
from director.language.heredocs import Opening
from director.language.words import BLANKS

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_KNOWN = frozenset(("escape", "syntax", "check"))
_OPEN_LINES = 200  # braces that are open for more lines than this are not a template
_TABS = re.compile(r"^\t+", re.MULTILINE)


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

    def skip(self, opened: Iterable[Opening]) -> None:
        """Skip the here-documents of a wrong instruction, up to the first that is not closed."""
        for opening in opened:
            before = self._next
            try:
                self.heredoc(opening, before)
            except LanguageError:
                self._next = before
                return

    def heredoc(self, opening: Opening, number: int) -> str:
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

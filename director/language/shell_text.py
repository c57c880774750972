"""Reads a shell's text as POSIX shells and bash do, as far as quoting goes: what is open at a place of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

_OTHER_LINE = "\0"  # a line that is no delimiter
_ORDINARY = re.compile(r"[\w./,:=@%+*?!~^\[\]-]+")
_HEREDOC = re.compile(r"<<(-?)[ \t]*((?:'[^'\n]*'|\"[^\"\n]*\"|\\.|[^\s;&|<>()'\"\\])+)")
_MARKS = re.compile(r"['\"\\]")
_NAMES = {
    "'": "in single quotes",
    "$'": "in $'…'",
    '"': "in double quotes",
    "`": "in backquotes",
    "((": "in arithmetic",
    "{": "in ${…}",
    "#": "in a comment",
    "<": "in a here-document",
    "?": "where it cannot be judged",
}


class Place(NamedTuple):
    """A place in a shell's text.

    Attributes:
        inside: what is open, the outermost first: a key of `_NAMES`, or `(` and `$(`, in which text is plain again.
        before: a backslash or `$` just before it, `w` within a word, "" at the beginning of one.
        pending: the delimiters of here-documents that begin with the next line, or are open, and whether tabs are cut.
        line: what is there so far of a line of a here-document.
    """

    inside: tuple[str, ...] = ()
    before: str = ""
    pending: tuple[tuple[str, bool], ...] = ()
    line: str = ""

    def behind(self, text: str) -> Place:
        """The place behind a text that begins here."""
        return _Scanner(self).read(text)

    def behind_value(self) -> Place:
        """The place behind a value of which nothing is known."""
        in_document = self.inside[-1:] == ("<",)
        return self._replace(before="w", line=_OTHER_LINE if in_document else "")

    @property
    def name(self) -> str:
        """What a person calls it; "" for plain text."""
        inside = self.inside[-1] if self.inside else ""
        return _NAMES.get(inside) or {"\\": "behind a backslash", "$": "behind a $"}.get(self.before, "")


UNKNOWN = Place(("?",))


class _Scanner:
    """Goes from a place to the place behind a text."""

    def __init__(self, place: Place) -> None:
        self._inside, self._pending = list(place.inside), list(place.pending)
        self._before, self._line = place.before, place.line

    def read(self, text: str) -> Place:
        """The place behind the text."""
        at = 0
        while at < len(text):
            inside = self._inside[-1] if self._inside else ""
            if self._before == "\\" and inside != "?":
                self._before = "" if text[at] == "\n" else "w"
                at += 1
            else:
                at = _READERS[inside](self, text, at)
        return Place(tuple(self._inside), self._before, tuple(self._pending), self._line)

    def _open(self, what: str, before: str = "") -> None:
        self._inside.append(what)
        self._before = before

    def _close(self, before: str = "w") -> None:
        self._inside.pop()
        self._before = before

    def _plain(self, text: str, at: int) -> int:
        if ordinary := _ORDINARY.match(text, at):
            self._before = "w"
            return ordinary.end()
        character, inside = text[at], self._inside[-1] if self._inside else ""
        if character == "'":
            self._open("$'" if self._before == "$" else "'")
        elif character == '"':
            self._open('"')
        elif character == "#" and not self._before:
            self._open("#")
        elif character == "<" and text.startswith("<<", at):
            return self._heredoc(text, at)
        elif character == "(" and self._before != "$":
            return self._parenthesis("(", text, at)
        elif character == ")" and inside:
            self._close("w" if inside == "$(" else "")
        elif character == "\n" and self._pending:
            self._open("<")
        elif character in " \t\n;&|<>)":
            self._before = ""
        else:
            return self._expansion(text, at)
        return at + 1

    def _parenthesis(self, what: str, text: str, at: int) -> int:
        """`(` or `$(`, or arithmetic, which ends at two."""
        if not text.startswith("((", at):
            self._open(what)
            return at + 1
        self._open("((")
        self._open("((")
        return at + 2

    def _heredoc(self, text: str, at: int) -> int:
        if text.startswith("<<<", at):
            self._before = ""
            return at + 3
        found = _HEREDOC.match(text, at)
        if found is None or found.end() == len(text):
            self._open("?")
            return len(text)
        self._pending.append((_MARKS.sub("", found[2]), bool(found[1])))
        self._before = "w"
        return found.end()

    def _expansion(self, text: str, at: int) -> int:
        """What means the same in plain text, in double quotes, in arithmetic and in `${…}`."""
        character, before = text[at], self._before
        self._before = character if character == "\\" or (character == "$" and before != "$") else "w"
        if character == "`":
            self._open("`")
        elif character == "(" and before == "$":
            return self._parenthesis("$(", text, at)
        elif character == "{" and before == "$":
            self._open("{")
        return at + 1

    def _single(self, text: str, at: int) -> int:
        end = text.find("'", at)
        if end < 0:
            return len(text)
        self._close()
        return end + 1

    def _double(self, text: str, at: int) -> int:
        if text[at] != '"':
            return self._expansion(text, at)
        self._close()
        return at + 1

    def _escaping(self, text: str, at: int) -> int:
        """Backquotes and `$'…'`: up to their end, with escapes."""
        if text[at] == self._inside[-1][-1]:
            self._close()
        else:
            self._before = "\\" if text[at] == "\\" else "w"
        return at + 1

    def _arithmetic(self, text: str, at: int) -> int:
        if text[at] == "(" and self._before != "$":
            self._open("((")
        elif text[at] == ")":
            self._close()
        else:
            return self._expansion(text, at)
        return at + 1

    def _braces(self, text: str, at: int) -> int:
        if text[at] == "}":
            self._close()
        elif text[at] == '"' or (text[at] == "'" and '"' not in self._inside):
            self._open(text[at])
        else:
            return self._expansion(text, at)
        return at + 1

    def _comment(self, text: str, at: int) -> int:
        end = text.find("\n", at)
        if end < 0:
            return len(text)
        self._close("")
        return end

    def _document(self, text: str, at: int) -> int:
        end = text.find("\n", at)
        self._line += text[at:] if end < 0 else text[at:end]
        word, tabs = self._pending[0]
        line = self._line.lstrip("\t") if tabs else self._line
        if end < 0:
            self._line = line if word.startswith(line) else _OTHER_LINE
            return len(text)
        if line == word:
            del self._pending[0]
            if not self._pending:
                self._close("")
        self._line = ""
        return end + 1

    def _unknown(self, text: str, at: int) -> int:
        return len(text)


_READERS: dict[str, Callable[[_Scanner, str, int], int]] = {
    "": _Scanner._plain,
    "(": _Scanner._plain,
    "$(": _Scanner._plain,
    "'": _Scanner._single,
    "$'": _Scanner._escaping,
    '"': _Scanner._double,
    "`": _Scanner._escaping,
    "((": _Scanner._arithmetic,
    "{": _Scanner._braces,
    "#": _Scanner._comment,
    "<": _Scanner._document,
    "?": _Scanner._unknown,
}

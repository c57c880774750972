"""Replaces `$X` in all its forms and removes quotes and escapes, as the Containerfile reference specifies.

A NUL character in the text is a placeholder for the result of a template, which is inserted as it is: quotes, `$`,
blanks and stars in it have no meaning.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

from director import globs
from director.errors import VerbError

VALUE = "\0"
MAX_DEPTH = 32
_SPECIAL_NAMES = frozenset("@*#?-$!0")
_NAME = re.compile(r"[0-9]+|\w+")
_END = ""

Lookup = Callable[[str], "str | None"]


@functools.cache
def _plain(escape: str, quotes: bool) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Runs of ordinary characters: outside of quotes, inside of `${ }`, inside of double quotes."""
    marks = "$\0" + re.escape(escape)
    outside = marks + ("'\"" if quotes else "")
    return re.compile(f"[^{outside}]+"), re.compile(f"[^{outside}}}/]+"), re.compile(f'[^{marks}"]+')


class Lexer:
    """Renders one raw word, or the text of a file, in one pass.

    Args:
        text: the raw text.
        lookup: the value of a name, or None when it is not set.
        escape: the escape character.
        values: what replaces each NUL of `text`, in order.
        quotes: whether quotes have a meaning; in the text of a file they have none.
        keep_unset: whether `$X` stays as it is when X is not set.
    """

    def __init__(
        self,
        text: str,
        lookup: Lookup = lambda name: None,
        escape: str = "\\",
        values: Sequence[str] = (),
        quotes: bool = True,
        keep_unset: bool = False,
    ) -> None:
        self._text = text
        self._at = 0
        self._lookup = lookup
        self._escape = escape
        self._values = iter(values)
        self._quotes = quotes
        self._keep_unset = keep_unset
        self._depth = 0
        self._plain, self._plain_inside, self._plain_double = _plain(escape, quotes)

    def render(self) -> str:
        """The text with everything replaced.

        Raises:
            ValueError: a quote or a brace is not closed, or a form of `${}` does not exist.
            VerbError: `${X:?message}` of a name that is not set.
        """
        return self._until(_END, False, False)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        character = self._text[self._at : self._at + 1]
        self._at += 1
        return character

    def _run(self, plain: re.Pattern[str], pieces: list[str]) -> bool:
        """Append a run of ordinary characters; whether there was one."""
        found = plain.match(self._text, self._at)
        if not found:
            return False
        pieces.append(found.group())
        self._at = found.end()
        return True

    def _until(self, stop: str, raw_escapes: bool, pattern: bool) -> str:
        """Render up to and without `stop`; in a pattern, values are escaped."""
        pieces: list[str] = []
        plain = self._plain_inside if stop else self._plain
        while (character := self._peek()) != _END:
            if stop and character == stop:
                self._at += 1
                return "".join(pieces)
            if self._run(plain, pieces):
                continue
            self._one(character, pieces, raw_escapes, pattern)
        if stop:
            raise ValueError(f"${{ }} is not closed; expected {stop}")
        return "".join(pieces)

    def _one(self, character: str, pieces: list[str], raw_escapes: bool, pattern: bool) -> None:
        """Render what begins with `character`."""
        if character == "'" and self._quotes:
            pieces.append(self._single(pattern))
        elif character == '"' and self._quotes:
            pieces.append(self._double(raw_escapes, pattern))
        elif character in ("$", VALUE):
            pieces.append(self._value(character, pattern))
        elif character == self._escape:
            self._at += 1
            pieces.append((character if raw_escapes else "") + self._escaped(pattern))
        else:
            pieces.append(self._next())

    def _escaped(self, pattern: bool) -> str:
        return self._value(VALUE, pattern) if self._peek() == VALUE else self._next()

    def _value(self, character: str, pattern: bool) -> str:
        if character == VALUE:
            self._at += 1
            return self._known(pattern)
        value = self._dollar()
        return globs.escape(value) if pattern else value

    def _single(self, pattern: bool) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise ValueError("the quote ' is not closed; close it or put an escape before it")
        first, *others = self._text[self._at + 1 : end].split(VALUE)
        self._at = end + 1
        return first + "".join(self._known(pattern) + other for other in others)

    def _known(self, pattern: bool) -> str:
        """The value of the next NUL."""
        value = next(self._values, "")
        return globs.escape(value) if pattern else value

    def _double(self, raw_escapes: bool, pattern: bool) -> str:
        self._at += 1
        pieces: list[str] = []
        while (character := self._peek()) != _END:
            if self._run(self._plain_double, pieces):
                continue
            if character == '"':
                self._at += 1
                return "".join(pieces)
            if character in ("$", VALUE):
                pieces.append(self._value(character, pattern))
                continue
            self._at += 1
            pieces.append(self._escape_in_double(raw_escapes))
        raise ValueError('the quote " is not closed; close it or put an escape before it')

    def _escape_in_double(self, raw_escapes: bool) -> str:
        following = self._peek()
        if following and following in ('"', "$", self._escape):
            self._at += 1
            return (self._escape if raw_escapes else "") + following
        if not following:
            return ""
        return self._escape * 2 if raw_escapes else self._escape

    def _name(self) -> str:
        found = _NAME.match(self._text, self._at)
        if found:
            self._at = found.end()
            return found.group()
        return self._next() if self._peek() in _SPECIAL_NAMES and self._peek() else ""

    def _dollar(self) -> str:
        start = self._at
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            value = self._lookup(name) if name else "$"
            return self._kept(start) if value is None else value
        self._at += 1
        if self._depth >= MAX_DEPTH:
            raise ValueError(f"${{ }} are nested more than {MAX_DEPTH} deep")
        self._depth += 1
        value = self._braced()
        self._depth -= 1
        return self._kept(start) if value is None else value

    def _kept(self, start: int) -> str:
        """The replacement of an unset name: nothing, or the text as it is."""
        return self._text[start : self._at] if self._keep_unset else ""

    def _braced(self) -> str | None:
        """The value of `${…}`, from behind the opening brace; None when the name is not set."""
        if self._peek() in ("{", "}", ":", _END):
            raise ValueError("${ } has no name in it; expected ${NAME}, or \\$ for a dollar sign")
        name = self._name()
        modifier = self._next()
        if modifier == "}":
            return self._lookup(name)
        if modifier == "/":
            return self._replace(name)
        empty_too = modifier == ":"
        if empty_too:
            modifier = self._next()
        if modifier in ("-", "+", "?"):
            return self._default(name, modifier, empty_too)
        if modifier in ("#", "%") and not empty_too:
            return self._trim(name, modifier)
        if modifier == _END:
            raise ValueError(f"${{{name} is not closed; expected }}")
        wrong = ":" * empty_too + modifier.replace(VALUE, "{{")
        raise ValueError(f"${{{name}{wrong}}} is no form of $X; expected one of :- - :+ + :? ? # ## % %% / //")

    def _default(self, name: str, modifier: str, empty_too: bool) -> str | None:
        word = self._until("}", False, False)
        value = self._lookup(name)
        if value is None and self._keep_unset:
            return None
        missing = value is None or (empty_too and not value)
        if modifier == "+":
            return "" if missing else word
        if not missing:
            return value
        if modifier == "-":
            return word
        raise VerbError(f"{name}: {word or ('is not set' if value is None else 'is empty')}")

    def _trim(self, name: str, modifier: str) -> str | None:
        longest = self._peek() == modifier
        self._at += longest
        pattern = self._until("}", True, True)
        value = self._lookup(name)
        glob = globs.Glob(pattern, backwards=modifier == "%")
        if value is None:
            return None
        if modifier == "#":
            return value[max(0, glob.prefix(value, longest)) :]
        return value[: len(value) - max(0, glob.prefix(value[::-1], longest))]

    def _replace(self, name: str) -> str | None:
        every = self._peek() == "/"
        self._at += every
        pattern = self._until("/", True, True)
        replacement = self._until("}", True, False)
        value = self._lookup(name)
        glob = globs.Glob(pattern)
        return None if value is None else glob.replace(value, replacement, every)

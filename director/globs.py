"""Globs, in one dialect for targets, file names and `${X#p}`.

`*` is any text, `?` any character, `[a-z]` one of these, `[!a-z]` and `[^a-z]` any other; a backslash makes the next
character an ordinary one. Two uses differ, as in other programs: in paths `*` and `?` do not match `/`, and `**` is any
number of folders; `${X#p}` has no brackets, and a backslash is allowed only before special characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

MAX_PATTERN = 1_000  # characters of a glob for a name or a value
MAX_STARS = 500  # of any glob
_FOLDERS = "(?:.*/)?"
_IN_PATHS = {"*": "[^/]*", "?": "[^/]", "**": _FOLDERS}
_MAGIC = re.compile(r"[*?\[]")
_CLASS = re.compile(r"\[(?:([!^])|(?![!^]))((?:\\.|[^\\])(?:\\.|[^\]\\])*)\]", re.DOTALL)
_MEMBER = re.compile(r"\\?(.)(?:-\\?(.))?", re.DOTALL)
_ESCAPABLE = frozenset("}/*?\\")
_MARKS = {ord("*"): "\ue000", ord("?"): "\ue001", ord("["): "\ue002"}
_MARKED = {ord(mark): "\\" + chr(star) for star, mark in _MARKS.items()}

Token = tuple[str, str]


class GlobError(ValueError):
    """A glob that cannot be read; the message is one line."""


def has_magic(text: str) -> bool:
    """Whether `text` has a character that makes it a glob."""
    return _MAGIC.search(text) is not None


def escape(text: str) -> str:
    """A glob that matches `text` and nothing else, without brackets (for `${X#p}`)."""
    return re.sub(r"[*?\\]", r"\\\g<0>", text)


def shielded(text: str) -> str:
    """A value for a glob, with `*`, `?` and `[` replaced by private characters; lists and mappings stay as they are."""
    return text if text[:1] in ("[", "{") else text.translate(_MARKS)


def unshielded(pattern: str) -> str:
    """The glob with the characters that `shielded` replaced, each behind a backslash."""
    return pattern.translate(_MARKED)


def compiled(pattern: str) -> Callable[[str], object]:
    """A function that is true for a text which the glob matches as a whole; it does not backtrack over `*`.

    Raises:
        GlobError: the glob is too long, or a range in brackets ends before it begins.
    """
    if len(pattern) > MAX_PATTERN:
        raise GlobError(f"the glob is longer than {MAX_PATTERN} characters")
    return _regex(_pieces(_tokens(pattern)), ".*").fullmatch


def translate(pattern: str) -> str:
    """The regular expression (for `re` with DOTALL) of a glob for paths. Raises GlobError for a wrong range."""
    out: list[str] = []
    kind = ""
    for kind, text in _tokens(pattern):
        if out[-1:] == [_FOLDERS] and text == "/":
            continue
        out.append(_IN_PATHS.get(kind, text))
    return "".join((*out[:-1], ".*") if kind == "**" else out)


class Glob:
    """The glob of `${X#p}` or `${X/p/r}`, split at its stars; each piece matches texts of one length.

    Args:
        pattern: `*`, `?`, and a backslash before `*`, `?`, `\\`, `/` or `}`.
        backwards: whether the values are reversed, to match at their end.

    Raises:
        GlobError: a backslash before anything else, or more than MAX_STARS stars.
    """

    def __init__(self, pattern: str, backwards: bool = False) -> None:
        tokens = list(_tokens(pattern, brackets=False))
        pieces = _pieces(reversed(tokens) if backwards else tokens)
        self._first = re.compile(pieces[0], re.DOTALL)
        self._longest, self._shortest = _regex(pieces, ".*"), _regex(pieces, ".*?")

    def prefix(self, text: str, longest: bool, start: int = 0) -> int:
        """Where a match that begins at `start` ends, or -1."""
        found = (self._longest if longest else self._shortest).match(text, start)
        return found.end() if found else -1

    def search(self, text: str, start: int) -> tuple[int, int] | None:
        """The leftmost match from `start` on, the longest one there; None for no match."""
        # if the other pieces do not match behind the first match of the first piece, they match behind no later one
        first = self._first.search(text, start)
        found = first and self._longest.match(text, first.start())
        return found.span() if found else None

    def replace(self, text: str, replacement: str, every: bool) -> str:
        """`text` with the first match, or every one, replaced by `replacement` as it is."""
        pieces, position, last = [], 0, -1
        while position <= len(text) and (found := self.search(text, position)):
            start, end = found
            pieces.append(text[position:start])
            if start != end or start != last:
                pieces.append(replacement)
            position = last = end
            if start == end:
                pieces.append(text[end : end + 1])
                position = end + 1
            if not every:
                break
        return "".join((*pieces, text[position:]))


def _regex(pieces: Sequence[str], last_star: str) -> re.Pattern[str]:
    """The pieces with any text between them; `last_star` is `.*` for the longest match, `.*?` for the shortest.

    A later match of a piece in the middle cannot succeed if the first one fails, so each group keeps its first match
    and the regular expression does not backtrack over the stars.
    """
    first, *others = pieces
    middle = "".join(f"(?=(?P<p{n}>.*?{piece}))(?P=p{n})" for n, piece in enumerate(others[:-1]))
    return re.compile("".join((first, middle, *(last_star + piece for piece in others[-1:]))), re.DOTALL)


def _pieces(tokens: Iterable[Token]) -> list[str]:
    """The regular expressions between the stars; each matches texts of one length. Raises GlobError: too many stars."""
    pieces, starred = [""], False
    for kind, text in tokens:
        if kind in ("*", "**"):
            pieces += [] if starred else [""]
        pieces[-1] += text
        starred = kind in ("*", "**")
    if len(pieces) > MAX_STARS:
        raise GlobError(f"the pattern has more than {MAX_STARS} stars")
    return pieces


def _tokens(pattern: str, brackets: bool = True) -> Iterator[Token]:
    """`("*", "")`, `("**", "")`, `("?", ".")`, or `("", regular expression of one character)`.

    Args:
        brackets: whether `[…]` is a class; without brackets, a backslash is allowed only as in a Containerfile.
    """
    at = 0
    while at < len(pattern):
        character, at = pattern[at], at + 1
        found = _CLASS.match(pattern, at - 1) if brackets and character == "[" else None
        if found:
            yield "", _class(found)
            at = found.end()
        elif character == "\\" and (at < len(pattern) or not brackets):
            following, at = pattern[at : at + 1], at + 1
            if not brackets and following not in _ESCAPABLE:
                raise GlobError(f"invalid escape \\{following} in the pattern {pattern}")
            yield "", re.escape(following)
        elif character == "*":
            yield "*" * (1 + pattern.startswith("*", at)), ""
            at += pattern.startswith("*", at)
        else:
            yield ("?", ".") if character == "?" else ("", re.escape(character))


def _class(found: re.Match[str]) -> str:
    members = ""
    for first, last in _MEMBER.findall(found[2]):
        if last and last < first:
            raise GlobError(f"the range {first}-{last} in {found[0]} ends before it begins")
        members += re.escape(first) + (f"-{re.escape(last)}" if last else "")
    return f"[{'^' if found[1] else ''}{members}]"

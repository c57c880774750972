"""The patterns of `${X#p}` and `${X/p/r}`: `*` and `?`, matched in a time that grows with the text only."""

from __future__ import annotations

import re

_SPECIAL = frozenset("*?\\")


class Glob:
    """A pattern cut at its stars; each piece between has a fixed length.

    Args:
        pattern: `*` any text, `?` any character, `\\` before `*`, `?`, `\\`, `/` or `}` takes their meaning away.
        backwards: for values that are given reversed, to match at the end.

    Raises:
        ValueError: an escape before anything else.
    """

    def __init__(self, pattern: str, backwards: bool = False) -> None:
        tokens = _tokens(pattern)
        if backwards:
            tokens.reverse()
        pieces = [""]
        for token in tokens:
            if token == "*":
                pieces.append("")
            else:
                pieces[-1] += "." if token == "?" else re.escape(token[-1])
        self._pieces = [re.compile(piece, re.DOTALL) for piece in pieces]

    def prefix(self, text: str, longest: bool, start: int = 0) -> int:
        """Where a match that begins at `start` ends, or -1."""
        first, *others = self._pieces
        found = first.match(text, start)
        for piece in others[:-1]:
            found = piece.search(text, found.end()) if found else None
        if not found:
            return -1
        if not others:
            return found.end()
        return _last(others[-1], text, found.end()) if longest else _next(others[-1], text, found.end())

    def search(self, text: str, start: int) -> tuple[int, int] | None:
        """The leftmost match at or behind `start`, the longest there."""
        found = self._pieces[0].search(text, start)
        if not found:
            return None
        end = self.prefix(text, True, found.start())
        # where the first piece fits and the others do not follow, they follow no later place either
        return (found.start(), end) if end >= 0 else None

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


def _next(piece: re.Pattern[str], text: str, start: int) -> int:
    found = piece.search(text, start)
    return found.end() if found else -1


def _last(piece: re.Pattern[str], text: str, start: int) -> int:
    """The end of the last match of a piece of fixed length at or behind `start`, or -1."""
    if not piece.pattern:
        return len(text)
    end = -1
    while found := piece.search(text, start):
        end, start = found.end(), found.start() + 1
    return end


def _tokens(pattern: str) -> list[str]:
    tokens, position = [], 0
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            position += 1
            following = pattern[position : position + 1]
            if following not in ("}", "/", "*", "?", "\\"):
                raise ValueError(f"invalid escape \\{following} in the pattern {pattern}")
            character = "\\" + following
        tokens.append(character)
        position += 1
    return tokens


def escape(value: str) -> str:
    """A pattern that matches `value` and nothing else."""
    return "".join("\\" + character if character in _SPECIAL else character for character in value)

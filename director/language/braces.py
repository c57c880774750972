"""Where `{{ }}` and `{% %}` begin and end in a text, without a template engine."""

from __future__ import annotations

import re
from collections.abc import Iterator

_OPEN = re.compile(r"\{[{%]")
_INSIDE = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[()\[\]{}]|%\}""", re.DOTALL)
_CLOSING = {")": "(", "]": "[", "}": "{"}


def present(text: str) -> bool:
    """Whether anything in `text` opens a template expression or statement."""
    return "{{" in text or "{%" in text


def _end(text: str, start: int) -> int:
    """The place behind what opens at `start`, or -1 when it is never closed."""
    statement = text[start + 1] == "%"
    depth = 0
    position = start + 2
    while found := _INSIDE.search(text, position):
        token, position = found.group(), found.end()
        if token == "%}":
            if statement and not depth:
                return position
        elif token in "([{":
            depth += 1
        elif token in _CLOSING:
            if not statement and not depth and text.startswith("}}", found.start()):
                return found.start() + 2
            depth = max(0, depth - 1)
    return -1


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each closed pair of braces; one that stays open ends the search."""
    position = 0
    while found := _OPEN.search(text, position):
        position = _end(text, found.start())
        if position < 0:
            return
        yield found.start(), position


def open_at_end(text: str) -> bool:
    """Whether braces that opened in `text` are not closed in it."""
    position = 0
    while found := _OPEN.search(text, position):
        position = _end(text, found.start())
        if position < 0:
            return True
    return False


def split_around(pattern: re.Pattern[str], text: str, limit: int = 0) -> list[str]:
    """`pattern.split(text, limit)` that leaves braces whole; the pattern has no groups."""
    if not present(text):
        return pattern.split(text, limit)
    held = list(spans(text))
    pieces, start, at = [], 0, 0
    for found in pattern.finditer(text):
        while at < len(held) and held[at][1] <= found.start():
            at += 1
        if at < len(held) and held[at][0] < found.end():
            continue
        pieces.append(text[start : found.start()])
        start = found.end()
        if limit and len(pieces) == limit:
            break
    return [*pieces, text[start:]]

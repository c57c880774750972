"""Finds where `{{ }}` and `{% %}` begin and end in a text, without the template engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_OPEN = re.compile(r"\{[{%]")
_INSIDE = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[()\[\]{}]|%\}""", re.DOTALL)
_CLOSING = {")": "(", "]": "[", "}": "{"}


def present(text: str) -> bool:
    """Whether `text` has an opening `{{` or `{%`."""
    return "{{" in text or "{%" in text


def _end(text: str, start: int) -> int:
    """The end of the braces that open at `start`; -1 when they are not closed."""
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
    """Start and end of each pair of braces, up to the first that is not closed."""
    position = 0
    while found := _OPEN.search(text, position):
        position = _end(text, found.start())
        if position < 0:
            return
        yield found.start(), position


def open_at_end(text: str) -> bool:
    """Whether braces open in `text` and are not closed."""
    closed = max((end for _, end in spans(text)), default=0)
    return _OPEN.search(text, closed) is not None


def replace(text: str, outside: Callable[[str], str], inside: Callable[[str], str] = str) -> str:
    """`text` with what `outside` makes of each piece between braces, and `inside` of each pair of braces."""
    pieces, start = [], 0
    for first, end in spans(text):
        pieces += [outside(text[start:first]), inside(text[first:end])]
        start = end
    return "".join((*pieces, outside(text[start:])))


def split_around(pattern: re.Pattern[str], text: str, limit: int = 0) -> list[str]:
    """`pattern.split(text, limit)` without matches inside of braces; the pattern has no groups."""
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

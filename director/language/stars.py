"""Stars in values: a `*`, `?` or `[` that comes out of a value is an ordinary character in the pattern around it."""

from __future__ import annotations

_MARKS = {ord("*"): "\ue000", ord("?"): "\ue001", ord("["): "\ue002"}
_BACK = {ord(mark): "\\" + chr(star) for star, mark in _MARKS.items()}


def shielded(text: str) -> str:
    """A value with its stars marked; lists and mappings stay readable to templates."""
    return text if text[:1] in ("[", "{") else text.translate(_MARKS)


def bared(pattern: str) -> str:
    """A rendered pattern whose marked stars are escaped by a backslash."""
    return pattern.translate(_BACK)

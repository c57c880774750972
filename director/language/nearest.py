"""Suggests the name that was probably meant, at the end of a message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def hint(word: str, names: Iterable[str], prefix: str = "") -> str:
    """`; did you mean X?`, or `; expected one of X, Y, Z` when no name is similar."""
    known = sorted(set(names))
    near = difflib.get_close_matches(word[:64], known, 1, 0.5)
    if near:
        return f"; did you mean {prefix}{near[0]}?"
    return f"; expected one of {', '.join(prefix + name for name in known)}" if known else ""

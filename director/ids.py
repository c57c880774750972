"""Job ids, which no format takes for a number, and the names that nodes and stages may have."""

from __future__ import annotations

import os
import re

RESERVED = frozenset(("all", "and", "or", "not", "last"))
MAX_NAME = 253
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9._-]")
_JOB_ID = re.compile(r"[0-9a-f]{16}")
_FIRST = "abcdef"


def new_job_id() -> str:
    """A random job id, 16 hexadecimal characters.

    The first is a letter: an id like 1234567e12345678 would be a number to YAML readers and spreadsheets.
    """
    raw = os.urandom(9)
    return _FIRST[raw[8] % len(_FIRST)] + raw[:8].hex()[1:]


def is_job_id(text: str) -> bool:
    """Whether `text` is a whole job id; the first character may be a digit."""
    return _JOB_ID.fullmatch(text) is not None


def name_fault(name: str) -> str:
    """Why `name` cannot name a node or a stage, in words that follow the name; "" when it can."""
    if not name:
        return "is empty"
    if len(name) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters ({len(name)})"
    if name in RESERVED:
        return "is a reserved word"
    if _NAME.fullmatch(name):
        return ""
    odd = _NOT_IN_NAME.search(name)
    if odd is not None:
        return f"has {odd.group()!a} in it; letters, digits, '.', '_' and '-' are allowed"
    return "must begin with a letter or a digit"

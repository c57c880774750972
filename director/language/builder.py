"""Builds one instruction of a verb and its text, for both forms of the language."""

from __future__ import annotations

import json
import re
from typing import Any

from director.language.flags import take
from director.language.instructions import Instruction, Syntax
from director.language.words import BLANKS, NARROW_BLANKS

_FIRST = re.compile(f"[^{NARROW_BLANKS}]*")
_HALF = re.compile("[\ud800-\udfff]")  # JSON allows `"\\ud800"`, a surrogate without its pair


def build(verb: str, text: str, syntax: Syntax, **fields: Any) -> Instruction:
    """An instruction of `verb`, whose flags and argument are `text`.

    Args:
        fields: the other attributes of an `Instruction`.

    Raises:
        ValueError: what is wrong and what was expected.
    """
    flags: dict[str, Any] = {}
    if text.startswith("--"):
        flags, text = take(text, syntax.flag_table, verb)
    text = text.strip(BLANKS)
    args = json_form(syntax, text)
    if (not text or args == ()) and syntax.needs and not flags.get("help"):
        raise ValueError(f"{verb} has no argument; expected {syntax.needs}")
    return Instruction(verb, flags, text, args, syntax=syntax, **fields)


def json_form(syntax: Syntax, text: str) -> tuple[str, ...] | None:
    """The strings of the JSON form, or None for the shell form. Raises ValueError for anything but strings in it."""
    if syntax.json_form is True:
        return strings(text)
    word, rest = text_parts(text) if syntax.json_form else ("", "")
    found = strings(rest) if word.upper() == syntax.json_form else None
    return None if found is None else (word, *found)


def text_parts(text: str) -> tuple[str, str]:
    """The first word, and the rest without the blanks before it."""
    word = _FIRST.match(text)
    end = word.end() if word else 0
    return text[:end], text[end:].lstrip(NARROW_BLANKS)


def strings(text: str) -> tuple[str, ...] | None:
    """The strings of a JSON list, None when `text` is not a list. Raises ValueError when it has other values."""
    text = text.lstrip(BLANKS)
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text, strict=True)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list):
        return None
    if not all(isinstance(item, str) for item in value):
        raise ValueError("a JSON list here may have only strings; put the other values in double quotes")
    return tuple(_HALF.sub("\ufffd", item) for item in value)

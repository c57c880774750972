"""Converts the text of a setting to its value: one small function for each kind."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from director import Any, durations
from director.config.table import Setting
from director.errors import UsageError


def convert(setting: Setting, value: Any, source: str) -> Any:
    """The value of a setting from its text.

    Args:
        value: a text; a list of texts for a repeatable setting.
        source: `flag`, `environment` or `file PATH`.

    Raises:
        UsageError: it cannot be used; the message names its source.
    """
    try:
        return CONVERT[setting.kind](setting, value)
    except ValueError as error:
        place = f" (from {setting.variable})" if source == "environment" else f" (from {source})"
        raise UsageError(f"--{setting.name}: {error}{'' if source == 'flag' else place}") from error


def nearest(word: str, words: Sequence[str], before: str = "") -> str:
    """`; did you mean X?` for the most similar of `words`, "" when none is similar."""
    import difflib

    found = difflib.get_close_matches(word, words, 1)
    return f"; did you mean {before}{found[0]}?" if found else ""


def _number(setting: Setting, text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,18}", text.strip(), re.ASCII):
        raise ValueError(f"{text!r} is not a whole number")
    return int(_bounded(setting, int(text), text))


def _duration(setting: Setting, text: str) -> float:
    return _bounded(setting, durations.parse(text), text)


def _size(setting: Setting, text: str) -> int:
    found = re.fullmatch(r"(\d{1,15})([kmgt]?)(?:i?b)?", text.strip(), re.ASCII | re.IGNORECASE)
    if not found:
        raise ValueError(f"{text!r} is not a size; expected bytes or a number with K, M, G or T, as 512M")
    size = int(found[1]) << 10 * " kmgt".index(found[2].lower() or " ")
    if size < setting.low:
        raise ValueError(f"{text!r} is out of range; expected {int(setting.low) >> 20}M or more")
    return size


def _bounded(setting: Setting, number: float, text: str) -> float:
    if not setting.low <= number <= setting.high:
        high = f" to {setting.high:g}" if setting.high != float("inf") else " or more"
        raise ValueError(f"{text!r} is out of range; expected {setting.low:g}{high}")
    return number


def _port(setting: Setting, text: str) -> int:
    number = int(text) if re.fullmatch(r"\d{1,9}", text.strip(), re.ASCII) else 0
    if not 0 < number < 65536:
        raise ValueError(f"{text!r} is not a port; expected 1 to 65535")
    return number


def _yesno(setting: Setting, text: str) -> bool:
    word = text.lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def _choice(setting: Setting, text: str) -> str:
    if text not in setting.choices:
        raise ValueError(f"{text!r} is none of {', '.join(setting.choices)}{nearest(text, setting.choices)}")
    return text


def _pairs(setting: Setting, texts: Iterable[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ValueError(f"{text!r} is not KEY=VALUE")
        pairs[key] = value
    return pairs


def _text(setting: Setting, text: str) -> str:
    if "\0" in text or not text:
        raise ValueError("it is empty; expected a value" if not text else "it holds a NUL byte")
    return text


CONVERT = {
    "text": _text,
    "path": lambda setting, text: os.path.expanduser(_text(setting, text)),
    "int": _number,
    "port": _port,
    "duration": _duration,
    "size": _size,
    "yesno": _yesno,
    "choice": _choice,
    "list": lambda setting, texts: tuple(_text(setting, text) for text in texts),
    "words": lambda setting, texts: tuple(word for text in texts for word in text.split(",") if word),
    "pairs": _pairs,
}

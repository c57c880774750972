"""Reads the flags before an instruction's argument and converts their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from director import durations
from director.language import braces
from director.language.foreign import hint
from director.language.words import BLANKS, NARROW_BLANKS

MAX_FLAGS = 500  # of one instruction
YES = frozenset(("true", "yes", "on"))
NO = frozenset(("false", "no", "off"))
_INTEGER = re.compile(r"[+-]?[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of a verb.

    Attributes:
        name: as written, without the leading dashes (`skip-cache`); in YAML `vars` with underscores.
        kind: `bool`, `str`, `int`, `count` (not below 0), `duration` (seconds, float), `ints` (comma list) or `words`
            (comma list).
        help: one line for the manual.
        repeatable: whether it may be given several times; the value is a list in the order written.
        aliases: other spellings (`retries` for `retry`).
        default: the value when it is not written.
        metavar: how the manual names the value.
        per_node: whether the value may differ per node: one with templates or `$X` reaches the verb as written, is a
            `document` in its `raws` and is rendered on the node (`Node.document`). For the kind `str` only.
    """

    name: str
    kind: str = "str"
    help: str = ""
    repeatable: bool = False
    aliases: tuple[str, ...] = ()
    default: Any = None
    metavar: str = ""
    per_node: bool = False


Table = Mapping[str, Flag]


class Unrendered(str):
    """A flag's value with braces or `$X`; `resolve` converts it once they are replaced."""

    __slots__ = ()


def take(text: str, table: Table, verb: str) -> tuple[dict[str, Any], str]:
    """The flags at the start of `text` by name, converted, and the text behind them.

    Raises:
        ValueError: a flag is unknown or given twice, its value is missing or wrong, or there are too many.
    """
    found: dict[str, Any] = {}
    text = text.lstrip(NARROW_BLANKS)
    for _ in range(MAX_FLAGS):
        if not text.startswith("--"):
            return found, text.strip(BLANKS)
        word, rest = _word(text)
        if word == "--":
            return found, rest.strip(BLANKS)
        name, equals, value = word[2:].partition("=")
        flag = find(name, table, verb)
        if flag.kind == "rest":
            add(found, flag, text[len(f"--{name}{equals}") :].strip(BLANKS))
            return found, ""
        if not equals and flag.kind == "bool":
            value = "true"
        elif not equals and not rest.strip(NARROW_BLANKS):
            raise ValueError(f"{verb} --{flag.name} needs a value; expected --{flag.name}={_expected(flag)}")
        elif not equals:
            value, rest = _word(rest.lstrip(NARROW_BLANKS))
        add(found, flag, value)
        text = rest.lstrip(NARROW_BLANKS)
    raise ValueError(f"{verb} has {MAX_FLAGS} flags or more; expected fewer")


def _word(text: str) -> tuple[str, str]:
    """The first word without its quotes and escapes, and the rest; braces are part of one word."""
    held = braces.spans(text)
    start, end = next(held, (-1, -1))
    pieces: list[str] = []
    quote, position = "", 0
    while position < len(text):
        character = text[position]
        if position == start:
            pieces.append(text[start:end])
            position = end
            start, end = next(held, (-1, -1))
            continue
        if not quote and character in NARROW_BLANKS:
            break
        if character == "\\":
            position += 1
            pieces.append(text[position : position + 1])
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        else:
            pieces.append(character)
        position += 1
    return "".join(pieces), text[position:]


def find(name: str, table: Table, verb: str) -> Flag:
    """The flag of this name or alias. Raises ValueError with the most similar name."""
    if flag := table.get(name):
        return flag
    raise ValueError(f"{verb} has no flag --{name}{hint(name, table, '--')}")


def add(found: dict[str, Any], flag: Flag, text: str) -> None:
    """Convert one value and add it to `found`. Raises ValueError for a wrong value and for a second one."""
    value = Unrendered(text) if flag.kind != "rest" and _open(text) else convert(flag, text)
    if flag.repeatable:
        found.setdefault(flag.name, []).append(value)
    elif flag.name in found:
        raise ValueError(f"--{flag.name} is given twice; expected it once")
    else:
        found[flag.name] = value


def _open(text: str) -> bool:
    return "$" in text or braces.present(text)


def convert(flag: Flag, text: str) -> Any:
    """`text` as a value of the flag's kind. Raises ValueError with what was expected."""
    try:
        return _KINDS[flag.kind][0](text) if flag.kind in _KINDS else text
    except ValueError:
        raise ValueError(f"--{flag.name} cannot be {text!r}; expected {_expected(flag)}") from None


def _bool(text: str) -> bool:
    if text.lower() in YES:
        return True
    if text.lower() in NO:
        return False
    raise ValueError(text)


def _int(text: str) -> int:
    if not _INTEGER.fullmatch(text.strip()):
        raise ValueError(text)
    return int(text)


def _count(text: str) -> int:
    if (count := _int(text)) < 0:
        raise ValueError(text)
    return count


def _words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise ValueError(text)
    return words


def _ints(text: str) -> list[int]:
    return [_int(word) for word in text.split(",")]


_KINDS: dict[str, tuple[Callable[[str], Any], str]] = {  # reader, and what is expected; other kinds are texts
    "bool": (_bool, "true or false"),
    "int": (_int, "a whole number"),
    "count": (_count, "a whole number, not below 0"),
    "ints": (_ints, "whole numbers joined by commas, such as 0,2"),
    "words": (_words, "words joined by commas, such as a,b"),
    "duration": (durations.parse, durations.EXPECTED),
}


def _expected(flag: Flag) -> str:
    return _KINDS[flag.kind][1] if flag.kind in _KINDS else flag.metavar or "TEXT"


def resolve(found: Mapping[str, Any], table: Table, render: Callable[[str], str]) -> dict[str, Any]:
    """`found` with every `Unrendered` value rendered and converted, except those of flags that may differ per node.

    Raises:
        ValueError: a rendered value is wrong; and the errors of `render`.
    """

    def converted(name: str, value: Any) -> Any:
        if not isinstance(value, Unrendered) or table[name].per_node:
            return value
        return convert(table[name], render(value))

    return {
        name: [converted(name, one) for one in value] if isinstance(value, list) else converted(name, value)
        for name, value in found.items()
    }


def from_vars(found: dict[str, Any], values: Iterable[tuple[str, list[str]]], table: Table, verb: str) -> None:
    """Add YAML `vars`: names with underscores, each with the values written.

    Raises:
        ValueError: as `take`.
    """
    for key, texts in values:
        name = key.replace("_", "-")
        if name not in table:
            known = [known.replace("-", "_") for known in table]
            raise ValueError(f"vars of {verb} has no {key!r}{hint(key, known)}")
        flag = find(name, table, verb)
        if len(texts) > 1 and not flag.repeatable and flag.kind in ("ints", "words"):
            texts = [",".join(texts)]
        if not texts:
            raise ValueError(f"{key} in vars of {verb} has no value; expected {_expected(flag)}")
        for text in texts:
            add(found, flag, text)


def misplaced(text: str, table: Table) -> list[str]:
    """Words of a command that are flags of its verb but are behind the first argument, for `--plan`."""
    words = (word.partition("=")[0] for word in text.split() if word.startswith("--"))
    return [word for word in words if word[2:] in table]

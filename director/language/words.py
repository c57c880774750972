"""Splits the text of an instruction into raw words, with their quotes, escapes, braces and `$X`.

A Directorfile's words are split as by BuildKit, YAML's as by a shell; in both, blanks inside of braces split nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from director.language import braces

#: the blanks around and between words (Unicode white space)
BLANKS = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
#: the blanks behind an instruction's name and its flags, where BuildKit compares bytes
NARROW_BLANKS = "\t\n\v\f\r "
_BLANKS = frozenset(BLANKS)
#: the blanks between words of a Directorfile
BETWEEN = re.compile(r"[\t\v\f\r ]+")
_LIVE = re.compile(r"""['"\\`]""")
_WHOLE = re.compile(r"""'[^']*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_IN_DOUBLE = re.compile(r'"|\\(?!\$)')
_TO_ESCAPE = {escape: re.compile(rf"""['"]|{re.escape(escape)}(?!\$)""") for escape in "\\`"}


class Written(str):
    """The text between quotes, which is never a number or a list."""

    __slots__ = ()


def plain(text: str) -> list[str]:
    """Words between blanks, where quotes have no meaning: COPY, ADD, EXPOSE, FROM in a Directorfile."""
    text = text.strip(BLANKS)
    return braces.split_around(BETWEEN, text) if text else []


def quoted(text: str, escape: str = "\\") -> list[str]:
    """Words between blanks outside of quotes, with quotes and escapes: ENV, ARG, LABEL, and all words in YAML."""
    text = text.strip(BLANKS)
    if not _LIVE.search(text):
        return [word for word in braces.split_around(re.compile(f"[{BLANKS}]+"), text) if word]
    ends = dict(braces.spans(text))
    words, position = [], 0
    while position < len(text):
        if text[position] in _BLANKS:
            position += 1
            continue
        end, quote = _scan(text, position, escape, ends, _BLANKS)
        word = text[position:end]
        # an escape at the end has nothing to escape; behind an open `'` it is text
        dangling = end == len(text) and quote != "'" and (len(word) - len(word.rstrip(escape))) % 2
        words.append(word[:-1] if dangling else word)
        position = end
    return [word for word in words if word]


def _scan(text: str, position: int, escape: str, ends: Mapping[int, int], stops: Collection[str]) -> tuple[int, str]:
    """The first place of one of `stops` outside of quotes and braces, and the quote that is open there, or "".

    Args:
        ends: the end of each pair of braces, by its start.
    """
    quote = ""
    while position < len(text):
        character = text[position]
        if position in ends:
            position = ends[position]
            continue
        if character == escape and quote != "'":
            position += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in stops:
            return position, ""
        position += 1
    return len(text), quote


def open_quote(word: str, escape: str = "\\") -> str:
    """The quote that is not closed in a raw word, or ""."""
    return _scan(word, 0, escape, dict(braces.spans(word)), ())[1]


def literal(text: str, escape: str = "\\") -> str:
    """A raw word that renders to `text` with braces and `$X` replaced, but quotes and escapes as they are."""
    return _escaped(text, escape, _TO_ESCAPE[escape])


def _escaped(text: str, escape: str, data: re.Pattern[str]) -> str:
    return braces.replace(text, lambda piece: data.sub(lambda found: escape + found[0], piece))


def raw_of(value: str) -> str:
    """The raw word of a value in a YAML mapping."""
    return '"' + _escaped(value, "\\", _IN_DOUBLE) + '"' if isinstance(value, Written) else literal(value)


def whole_quoted(raw: str) -> bool:
    """Whether a raw value is wholly in quotes, which makes it text in templates (DSL.md section 3)."""
    return _WHOLE.fullmatch(raw) is not None

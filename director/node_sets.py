"""Node names folded into one short text and back: `web-[01-38,40],db1`; names in natural order.

Brackets hold numbers and ranges. A range keeps the width of its first number when that begins with a zero:
`[08-10]` is 08, 09, 10 and `[8-10]` is 8, 9, 10; `[1-044]` has two widths and is refused. Several brackets in a word
are every combination.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, product, zip_longest

LIMIT = 100_000
_MAX_DIGITS = 18  # of a number in a range
_MAX_NUMBER = 253  # digits of any other number; no name is longer
_NUMBER = re.compile("[0-9]+")
_digits = re.compile("([0-9]+)").split
_brackets = re.compile(r"\[([^\[\]]*)\]").split
_ITEMS = re.compile(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*")


class FoldError(ValueError):
    """A folded word that cannot be expanded; the message says why, without the word."""


def number_first(text: str) -> str:
    """`text` with each number preceded by its length, so that 2 sorts before 10 and 2 equals 02."""
    return _NUMBER.sub(_with_length, text)


def _with_length(match: re.Match[str]) -> str:
    digits = match.group().lstrip("0")
    return chr(48 + len(digits)) + digits


@lru_cache(maxsize=1 << 16)
def natural_key(name: str) -> str:
    """The sort key that puts web-2 before web-10; a text, as Python compares texts fastest."""
    return f"{number_first(name)}\0{name}"


def natural(names: Iterable[str]) -> list[str]:
    """The names in natural order."""
    return sorted(names, key=natural_key)


def fold(names: Iterable[str]) -> str:
    """The names, each once, in natural order and as short as numbers in brackets make it; "" for none.

    `expand` of each word gives the same names again, as no node's name has brackets or commas.
    """
    shapes: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for name in set(names):
        parts = _digits(name)
        shapes.setdefault(tuple(parts[::2]), []).append(tuple(parts[1::2]))
    folded = [(texts, row) for texts, rows in shapes.items() for row in _fold_rows(rows)]
    words = ["".join(chain(*zip_longest(texts, row, fillvalue=""))) for texts, row in folded]
    return ",".join(sorted(words, key=lambda word: natural_key(word.replace("[", ""))))


def _fold_rows(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Fold one column of numbers after the other, first the one with the most different values."""
    if len(rows) < 2 or not rows[0]:
        return rows
    kinds = [len(set(column)) for column in zip(*rows, strict=True)]
    for at in sorted(range(len(kinds)), key=lambda i: -kinds[i]):
        if kinds[at] > 1:
            rows = _fold_column(rows, at)
    return rows


def _fold_column(rows: list[tuple[str, ...]], at: int) -> list[tuple[str, ...]]:
    alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for row in rows:
        alike.setdefault((row[:at], row[at + 1 :]), []).append(row[at])
    return [(*before, _bracket(values), *after) for (before, after), values in alike.items()]


def _bracket(values: list[str]) -> str:
    return values[0] if len(values) == 1 else f"[{','.join(_ranges(values))}]"


def _ranges(values: list[str]) -> Iterator[str]:
    """`01 02 03 7` as `01-03`, `7`; a range has one width when any number of that width begins with a zero."""
    padded = {len(value) for value in values if value[0] == "0" and len(value) > 1}
    rank = sorted((len(v) if len(v) in padded else 0, len(v.lstrip("0")), v) for v in values)
    start = before = rank[0]
    for item in rank[1:]:
        if not _follows(before, item):
            yield _range(start[2], before[2])
            start = item
        before = item
    yield _range(start[2], before[2])


def _follows(before: tuple[int, int, str], item: tuple[int, int, str]) -> bool:
    alike = before[0] == item[0] and len(item[2]) <= _MAX_DIGITS
    return alike and int(item[2]) == int(before[2]) + 1


def _range(first: str, last: str) -> str:
    return first if first == last else f"{first}-{last}"


def is_folded(word: str) -> bool:
    """Whether `word` has brackets, all of them with numbers and ranges only."""
    pieces = _brackets(word)
    return len(pieces) > 1 and all(_ITEMS.fullmatch(piece) for piece in pieces[1::2])


def expand(word: str, limit: int = LIMIT) -> list[str]:
    """The names of one folded word, in the order written.

    Args:
        word: literal text with any number of brackets, also none.
        limit: the most names to make.

    Raises:
        FoldError: a bracket is not closed or has something else than numbers and ranges, or there are too many names.
    """
    pieces = _brackets(word)
    for piece in pieces[::2]:
        if "[" in piece or "]" in piece:
            raise FoldError("a bracket is not closed or not opened; expected [01-40]")
    total = 1
    choices: list[Iterable[str]] = [pieces[:1]]
    for items, literal in zip(pieces[1::2], pieces[2::2], strict=True):
        spans = _spans(items)
        total *= sum(len(numbers) for numbers, _ in spans)
        if total > limit:
            raise FoldError(f"more than {limit} names; expected a smaller set or a glob")
        choices += [[str(number).zfill(width) for numbers, width in spans for number in numbers], (literal,)]
    return ["".join(parts) for parts in product(*choices)]


_Span = tuple[range, int]  # numbers, and the width to which they are filled with zeros


def _spans(items: str) -> list[_Span]:
    if not _ITEMS.fullmatch(items):
        raise FoldError(f"[{items}] is not a list of numbers; expected numbers and ranges, as in [01-40,45]")
    return [_span(item) for item in items.split(",")]


def _span(item: str) -> _Span:
    first, dash, last = item.partition("-")
    last = last or first
    if max(len(first), len(last)) > (_MAX_DIGITS if dash else _MAX_NUMBER):
        raise FoldError(f"a number in brackets is too long; expected at most {_MAX_DIGITS} digits in a range")
    if (first[0] == "0" and len(last) < len(first)) or (last[0] == "0" and len(last) != len(first)):
        raise FoldError(f"the range {item} has numbers of two widths; expected one, as in 001-044 or 1-44")
    if int(last) < int(first):
        raise FoldError(f"the range {item} ends before it begins")
    return range(int(first), int(last) + 1), len(first) if first[0] == "0" or not dash else 0

"""Masks values in the output of a process while it is read, also a value that comes in pieces."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from urllib.parse import quote

MASK = b"***"
LEAST = 4  # bytes of a value that is masked, and of the beginning of one at the end of an output
LINE = 8  # bytes of a line of a value that is masked alone
LINES = 200  # of a value that are


def patterns_of(value: bytes) -> list[bytes]:
    """What is masked of a value: it without the blanks around, and its first long lines, which programs print alone.

    Each also as JSON, Python, shells and URLs write it.
    """
    lines = [line for part in value.splitlines() if len(line := part.strip()) >= LINE]
    found = [value.strip(), *lines[:LINES]]
    return list(dict.fromkeys(form for pattern in found if len(pattern) >= LEAST for form in _forms(pattern)))


def _forms(pattern: bytes) -> Iterator[bytes]:
    """The pattern, and how it stands between quotes; only special characters make a difference."""
    yield pattern
    if pattern.isalnum() and pattern.isascii():
        return
    text = pattern.decode("utf-8", "surrogateescape")
    as_json = json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
    in_shell = text.replace("'", "'\\''"), text.replace("'", "'\"'\"'")
    in_python = repr(text)[1:-1], repr(text + "'\"")[1:-4]
    for form in (*as_json, *(form.replace("/", "\\/") for form in as_json), *in_python, *in_shell):
        yield form.encode("utf-8", "surrogateescape")
    yield quote(pattern, safe="").encode()
    yield quote(pattern).encode()


def hide(data: bytes, patterns: Iterable[bytes]) -> bytes:
    """The data with each of the patterns masked; the longest must come first."""
    for pattern in patterns:
        if pattern in data:
            data = data.replace(pattern, MASK)
    return data


def hide_stream(data: bytes, patterns: Collection[bytes]) -> bytes:
    """A whole stream, masked."""
    masked = Masked(patterns)
    return masked.feed(data) + masked.end()


def longest_first(patterns: Collection[bytes]) -> list[bytes]:
    """The order in which `hide` and `Masked` need them."""
    return sorted(set(patterns), key=len, reverse=True)


class Masked:
    """Masks one stream.

    Args:
        patterns: the longest first.
    """

    __slots__ = ("_held", "_patterns")

    def __init__(self, patterns: Collection[bytes]) -> None:
        self._patterns = patterns
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be passed on; what may be the beginning of a value is held until the rest has come."""
        data = self._held + data
        cut = self._open_at(data)
        self._held = data[cut:]
        return hide(data[:cut], self._patterns)

    def end(self) -> bytes:
        """What was held, at the end of the stream; the beginning of a value is masked as well."""
        data, self._held = hide(self._held, self._patterns), b""
        return MASK if len(data) >= LEAST and any(pattern.startswith(data) for pattern in self._patterns) else data

    def _open_at(self, data: bytes) -> int:
        """Where the first value begins that may not be here as a whole; the length of the data when there is none."""
        cut = len(data)
        for pattern in self._patterns:
            at = data.find(pattern[:1], max(0, len(data) - len(pattern) + 1))
            while 0 <= at < cut and not pattern.startswith(data[at:]):
                at = data.find(pattern[:1], at + 1)
            cut = min(cut, at) if at >= 0 else cut
        while (across := self._across(data, cut)) < cut:
            cut = across
        return cut

    def _across(self, data: bytes, cut: int) -> int:
        """Where a whole value begins that the cut would divide; the cut when there is none."""
        for pattern in self._patterns:
            at = data.rfind(pattern, max(0, cut - len(pattern) + 1), cut + len(pattern) - 1)
            if 0 <= at < cut:
                return at
        return cut

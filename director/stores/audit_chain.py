"""The audit log's lines: each is one JSON object with a number, the hash of the line before it and its own. Pure.

A line is `{"number":N,"previous":"HASH",…,"hash":"HASH"}`. Its hash is the sha256 of all that stands before `,"hash"`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import ujson

ZEROS = "0" * 64  # what the first line has as `previous`
FAULTS = 1000  # that a check reports; it counts the others
REMOVED = "files-removed"  # the event of a line that says which lines went with old files
_LINE = re.compile(rb'(\{"number":([0-9]{1,18}),"previous":"([0-9a-f]{64})",.*),"hash":"([0-9a-f]{64})"\}', re.DOTALL)


class Head(NamedTuple):
    """The end of a chain: the number and the hash of its last line."""

    number: int = 0
    hash: str = ZEROS


class Line(NamedTuple):
    """What a line says of its place, and whether its own hash is right."""

    number: int
    previous: str
    hash: str
    whole: bool


def seal(entry: Mapping[str, Any], head: Head) -> tuple[str, Head]:
    """The line that follows `head`, without a line feed, and the new end of the chain."""
    number = head.number + 1
    text = ujson.dumps({"number": number, "previous": head.hash, **entry}, escape_forward_slashes=False)[:-1]
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{text},"hash":"{digest}"}}', Head(number, digest)


def read(line: bytes) -> Line | None:
    """A line without its line feed; None when it is no line of an audit log."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    body, number, previous, digest = match.groups()
    return Line(int(number), previous.decode(), digest.decode(), hashlib.sha256(body).hexdigest() == digest.decode())


def removed(line: bytes) -> Head | None:
    """The last line that was removed with old files, when this line says so."""
    if f'"event":"{REMOVED}"'.encode() not in line:
        return None
    try:
        entry = ujson.loads(line)
        return Head(int(entry["last"]), str(entry["last_hash"])) if entry["event"] == REMOVED else None
    except (ValueError, TypeError, KeyError):
        return None


class Fault(NamedTuple):
    """Something that is wrong with a log.

    Attributes:
        file, line: where; the line counts from 1.
        number: of the line that is meant, 0 when it cannot be told.
        fault: what is wrong.
    """

    file: str
    line: int
    number: int
    fault: str


class Check:
    """Takes all lines of a log in their order, and says what is changed, missing or out of order.

    Attributes:
        lines: how many were taken.
        first, last: the numbers of the first and the last one; 0 before there is one.
        left_out: faults beyond `FAULTS`.
    """

    def __init__(self) -> None:
        self.lines = self.first = self.left_out = 0
        self._faults: list[Fault] = []
        self._missing: dict[tuple[int, int], Fault] = {}  # first and last number to the place where they should be
        self._before: tuple[Head, str, int] | None = None  # the line before, unless that cannot be read
        self._expected = 0  # the next number
        self._begins: tuple[str, int, Head] | None = None  # the first line, and what it says comes before it
        self._removed = Head()

    @property
    def last(self) -> int:
        """The highest number."""
        return self._expected - 1 if self._expected else 0

    def take(self, file: str, place: int, text: bytes) -> None:
        """The next line, without its line feed."""
        self.lines += 1
        line = read(text)
        if line is None or not line.whole:
            number = self._expected if line is None else line.number
            self._add(
                Fault(file, place, number, "was changed" if line else "is no line of an audit log, or was changed")
            )
            if line is None or self._expected not in (0, line.number):
                self._expected += bool(self._expected)
                self._before = None
                return
        if self._begins is None:
            self._begins, self.first = (file, place, Head(line.number - 1, line.previous)), line.number
            self._expected = line.number
        if line.number < self._expected:
            self._out_of_order(file, place, line)
            return
        if line.number > self._expected:
            gap = (self._expected, line.number - 1)
            self._missing[gap] = Fault(file, place, gap[0], "")
        elif self._before is not None and line.previous != self._before[0].hash:
            head, where, row = self._before
            self._add(Fault(where, row, head.number, f"was changed, as line {line.number} has another hash for it"))
        self._removed = removed(text) or self._removed if line.whole else self._removed
        self._before = Head(line.number, line.hash), file, place
        self._expected = line.number + 1

    def end(self, head: Head) -> list[Fault]:
        """The faults of the whole log, whose last line must be `head`."""
        if self._begins is not None:
            file, place, before = self._begins
            if before not in (Head(), self._removed):
                self._add(Fault(file, place, 1, _missing(1, before.number) + " at the beginning"))
        if self.last < head.number:
            file, place = (self._before[1], self._before[2]) if self._before else ("", 0)
            self._add(Fault(file, place, self.last + 1, _missing(self.last + 1, head.number) + " at the end"))
        elif self.last > head.number:
            file, place = (self._before[1], self._before[2]) if self._before else ("", 0)
            self._add(
                Fault(file, place, self.last, f"stands behind line {head.number}, the last one that the ledger knows")
            )
        elif self._before is not None and self._before[0] != head:
            _, file, place = self._before
            self._add(Fault(file, place, head.number, "was changed, as the ledger has another hash for it"))
        for (first, last), where in self._missing.items():
            self._add(Fault(where.file, where.line, first, _missing(first, last)))
        return sorted(self._faults, key=lambda fault: fault.number)

    def _out_of_order(self, file: str, place: int, line: Line) -> None:
        """A line with a lower number than expected: it was moved, or is there twice."""
        for first, last in self._missing:
            if first <= line.number <= last:
                fault = self._missing.pop((first, last))
                self._missing |= {
                    gap: fault for gap in ((first, line.number - 1), (line.number + 1, last)) if gap[0] <= gap[1]
                }
                self._add(Fault(file, place, line.number, f"is out of order: it stands behind line {self.last}"))
                return
        self._add(Fault(file, place, line.number, "is there twice"))

    def _add(self, fault: Fault) -> None:
        if len(self._faults) < FAULTS:
            self._faults.append(fault)
        else:
            self.left_out += 1


def _missing(first: int, last: int) -> str:
    return "is missing" if first == last else f"and the lines up to {last} are missing"

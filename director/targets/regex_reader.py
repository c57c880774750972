"""Reads a regex into parts that build an automaton; a single character's test is left to `re`."""

from __future__ import annotations

import re

from director.targets.regex_parts import Choice, One, Part, PatternError, Repeat, Row, Span

MAX_DEPTH = 20
_REPEAT = re.compile(r"\{([0-9]{0,4})(,?)([0-9]{0,4})\}")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_ODD_IN_CLASS = re.compile(r"(?<!\\)\[|--|&&|~~|\|\|")
_QUICK = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class Reader:
    """Recursive descent over a pattern."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.flags = 0
        if pattern.startswith("(?i)"):
            self.at, self.flags = 4, re.IGNORECASE

    def peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def fail(self, problem: str) -> PatternError:
        return PatternError(problem, min(self.at, len(self.pattern)))

    def whole(self) -> Part:
        part = self.choice(0)
        if self.peek():
            raise self.fail("has a ) without its (")
        return part

    def choice(self, depth: int) -> Part:
        if depth > MAX_DEPTH:
            raise self.fail(f"has groups more than {MAX_DEPTH} deep")
        rows = [self.row(depth)]
        while self.peek() == "|":
            self.at += 1
            rows.append(self.row(depth))
        return rows[0] if len(rows) == 1 else Choice(rows)

    def row(self, depth: int) -> Part:
        if depth == 0 and self.peek() == "^":
            self.at += 1
        parts: list[Part] = []
        while self.peek() not in ("", "|", ")"):
            if depth == 0 and self.peek() == "$" and self.pattern[self.at + 1 : self.at + 2] in ("", "|"):
                self.at += 1
                break
            parts.append(self.repeated(self.piece(depth)))
        return Row(parts)

    def piece(self, depth: int) -> Part:
        sign = self.peek()
        if sign == "(":
            return self.group(depth)
        if sign in "*+?":
            raise self.fail(f"has nothing to repeat before {sign}")
        if sign in "^$":
            raise self.fail(f"has {sign} inside; the whole name is matched, so it is not needed")
        if sign == "[":
            return self.tested(self.bracket())
        if sign == "\\":
            return self.tested(self.escape())
        return self.tested(sign if sign == "." else re.escape(sign), len(sign))

    def group(self, depth: int) -> Part:
        opened = self.at
        self.at += 1
        if self.peek() == "?":
            if not self.pattern.startswith("?:", self.at):
                raise self.fail("has a (?...) form that is not known here; expected (?:...) or (...)")
            self.at += 2
        part = self.choice(depth + 1)
        if self.peek() != ")":
            self.at = opened
            raise self.fail("has a ( without its )")
        self.at += 1
        return part

    def bracket(self) -> str:
        match = _CLASS.match(self.pattern, self.at)
        if match is None:
            raise self.fail("has a [ without its ]")
        if _ODD_IN_CLASS.search(match.group(), 1):
            raise self.fail("has [ or a doubled sign in a character class; expected a \\ before it")
        return match.group()

    def escape(self) -> str:
        text = self.pattern[self.at : self.at + 2]
        if len(text) < 2:
            raise self.fail("ends in a backslash")
        if text[1].isalnum() and text[1] not in "dDwWsS":
            raise self.fail(f"has {text}, which is not known here; expected \\d, \\w, \\s or an escaped sign")
        return text

    def tested(self, atom: str, length: int | None = None) -> Part:
        try:
            test = re.compile(atom, self.flags).fullmatch
        except re.error as error:
            raise self.fail(f"cannot be read: {error.msg}") from None
        self.at += len(atom) if length is None else length
        return One(test)

    def repeated(self, part: Part) -> Part:
        span = self.span()
        if span is None:
            return part
        if self.peek() == "?":  # a lazy one matches the same whole names
            self.at += 1
        begin = self.at
        if self.span() is not None:
            self.at = begin
            raise self.fail("has one repetition directly behind another; expected a group between")
        return Repeat(part, span)

    def span(self) -> Span | None:
        """How often the part before is repeated, None when nothing says so; moves on."""
        sign = self.peek()
        if sign in _QUICK and sign:
            self.at += 1
            return _QUICK[sign]
        match = _REPEAT.match(self.pattern, self.at)
        if match is None or (match.group(1, 3) == ("", "") and not match.group(2)):
            return None
        least, comma, most = match.groups()
        low = int(least or 0)
        high = low if not comma else int(most) if most else None
        if high is not None and high < low:
            raise self.fail("has a repetition whose end is before its begin")
        self.at = match.end()
        return low, high

"""Splits a target expression into tokens; each term becomes an expression at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from director.globs import GlobError, compiled, has_magic
from director.ids import name_fault
from director.node_sets import LIMIT, FoldError, expand, is_folded
from director.targets.expressions import (
    Everyone,
    Expr,
    Fact,
    Label,
    Matches,
    Members,
    Name,
    Pattern,
    TargetSyntaxError,
    number_of,
)
from director.targets.fact_matching import subnet
from director.targets.regexes import PatternError, Regex

MAX_GLOBS = 1_000
MAX_REGEXES = 250  # of one expression; each may take 1 MiB of memory
_BLANK = re.compile(r"\s*")
_PLAIN = re.compile(r"[^\s,()\[\]\"']+")
_BRACKET = re.compile(r"\[[^\]\s]*\]")
_QUOTED = re.compile(r'"((?:\\["\\]|[^"])*)"|' + "'([^']*)'")
_ESCAPE = re.compile(r'\\(["\\])')
_PATH = re.compile(r"[^\s,()=<>!\"']+")
_OPERATOR = re.compile(r"\s*(==|!=|<=|>=|=|<|>)\s*")
_NAMES_ONLY = re.compile(r"[A-Za-z0-9._*?\[\]!^,-]+")
WORDS = ("and", "or", "not")


class Token(NamedTuple):
    """`kind` is `and`, `or`, `not`, `(`, `)`, `end` or `term`; a comma is an `or`."""

    kind: str
    text: str
    at: int
    term: Expr | None = None


class Lexer:
    """Reads one expression from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.left = LIMIT  # how many more names sets may have
        self.regexes = 0

    def fail(self, problem: str, at: int | None = None) -> TargetSyntaxError:
        return TargetSyntaxError(problem, self.text, self.at if at is None else at)

    def tokens(self) -> list[Token]:
        tokens: list[Token] = []
        while True:
            self.skip(_BLANK)
            if self.at >= len(self.text):
                return [*tokens, Token("end", "the end", self.at)]
            tokens.append(self.token())

    def skip(self, what: re.Pattern[str]) -> re.Match[str] | None:
        match = what.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
        return match

    def token(self) -> Token:
        start, sign = self.at, self.text[self.at]
        if sign in "(),":
            self.at += 1
            return Token("or" if sign == "," else sign, sign, start)
        for prefix, read in _PREFIXES:
            if self.text.startswith(prefix, start):
                self.at += len(prefix)
                term = read(self, start)
                return Token("term", self.text[start : self.at], start, term)
        word = self.word("a target")
        written = self.text[start : self.at]
        if written in WORDS:
            return Token(written, written, start)
        return Token("term", written, start, self.named(word, start))

    def word(self, expected: str) -> str:
        """A word up to a blank, comma or parenthesis outside of quotes and brackets."""
        start, parts = self.at, []
        while self.at < len(self.text):
            sign = self.text[self.at]
            if sign in "\"'":
                parts.append(self.quoted())
            elif match := self.skip(_PLAIN) or self.skip(_BRACKET):
                parts.append(match.group())
            elif sign in "[]":
                raise self.fail(f"{sign} is not closed or not opened; expected a set as in web-[01-40]")
            else:
                break
        if self.at == start:
            raise self.fail(f"expected {expected}")
        return "".join(parts)

    def quoted(self) -> str:
        match = self.skip(_QUOTED)
        if match is None:
            raise self.fail("a quote is not closed")
        double, single = match.groups()
        return single if double is None else _ESCAPE.sub(r"\1", double)

    def value(self, expected: str) -> tuple[str, Matches | None]:
        """The value of a label or fact, and a function that matches it when it is a regex or a glob."""
        start = self.at
        if self.text.startswith("~", start):
            self.at += 1
            return self.pattern()
        value = self.plain_value(expected)
        return value, self.glob(value, start) if has_magic(value) else None

    def plain_value(self, expected: str) -> str:
        """The value of a label or fact as a text; brackets have no meaning in it."""
        start, parts = self.at, []
        while self.at < len(self.text) and (sign := self.text[self.at]) not in "),(" and not sign.isspace():
            if sign in "\"'":
                parts.append(self.quoted())
            else:
                match = self.skip(_PLAIN)
                parts.append(match.group() if match else sign)
                self.at += 0 if match else 1
        if self.at == start:
            raise self.fail(f"expected {expected}")
        return "".join(parts)

    def key(self, expected: str) -> str:
        match = self.skip(_PATH)
        if match is None:
            raise self.fail(f"expected {expected}")
        return match.group()

    def label(self, start: int) -> Expr:
        key = self.key("the name of a label, as in label:tier=web")
        operator = self.skip(_OPERATOR)
        if operator is None:
            return Label(self.text[start : self.at], key, None)
        if operator.group(1) not in ("=", "=="):
            raise self.fail("labels compare with = only; expected `not label:KEY=VALUE`", operator.start(1))
        value, matches = self.value("the label's value")
        return Label(self.text[start : self.at], key, value, matches)

    def fact(self, start: int) -> Expr:
        key = self.key("the name of a fact, as in fact:os.id=debian")
        operator = self.skip(_OPERATOR)
        if operator is None:
            raise self.fail("expected one of = != < <= > >= and a value behind the fact")
        sign = "=" if operator.group(1) == "==" else operator.group(1)
        expected = "the value to compare the fact with"
        value, matches = self.value(expected) if sign in ("=", "!=") else (self.plain_value(expected), None)
        if matches is None and sign in ("=", "!="):
            matches = subnet(value)
        return Fact(self.text[start : self.at], key, sign, value, number_of(value), matches)

    def regex(self, start: int) -> Expr:
        """A term that is a regex."""
        _, matches = self.pattern()
        return Pattern(self.text[start : self.at], matches)

    def pattern(self) -> tuple[str, Matches]:
        """A regex up to a blank, or up to a comma or parenthesis outside of its brackets."""
        begin = self.at
        pattern = self.quoted() if self.text[begin : begin + 1] in ("'", '"') else self.bare_regex()
        if not pattern:
            raise self.fail("expected a regex behind ~", begin)
        self.regexes += 1
        if self.regexes > MAX_REGEXES:
            raise self.fail(f"more than {MAX_REGEXES} regexes; expected fewer, or a label", begin)
        try:
            return pattern, Regex(pattern).matches
        except PatternError as error:
            raise self.fail(f"the regex {error}", begin) from None

    def bare_regex(self) -> str:
        start = self.at
        depth, in_class = 0, False
        while self.at < len(self.text):
            sign = self.text[self.at]
            if sign.isspace() or (depth == 0 and not in_class and sign in "),"):
                break
            if in_class:
                in_class = sign != "]"
            elif sign == "[":
                in_class = True
            else:
                depth += (sign in "({") - (sign in ")}")
            self.at += 2 if sign == "\\" else 1
        self.at = min(self.at, len(self.text))
        return self.text[start : self.at]

    def named(self, word: str, start: int) -> Expr:
        """A word that is `all`, a name, a set or a glob."""
        written = self.text[start : self.at]
        if word == "all":
            return Everyone(written)
        if has_magic(word):
            return self.several(word, written, start)
        fault = name_fault(word)
        if fault:
            raise self.fail(f"{word[:100]!r} {fault}; expected the name of a node", start)
        return Name(written, word)

    def several(self, word: str, written: str, start: int) -> Expr:
        odd = _NAMES_ONLY.match(word)
        if odd is None or odd.end() < len(word):
            raise self.fail(f"{word[:100]!r} has characters that no name has; expected a name, set or glob", start)
        try:
            if is_folded(word) and not ("*" in word or "?" in word):
                names = expand(word, self.left)
                self.left -= len(names)
                return Members(written, tuple(dict.fromkeys(names)))
            globs = expand(word, min(MAX_GLOBS, self.left)) if is_folded(word) else [word]
        except FoldError as error:
            raise self.fail(str(error), start) from None
        self.left -= len(globs)
        return Pattern(written, _any_of([self.glob(glob, start) for glob in globs]))

    def glob(self, glob: str, start: int) -> Matches:
        try:
            return compiled(glob)
        except GlobError as error:
            raise self.fail(f"{error}; expected a glob as in web-[a-f]*", start) from None


_PREFIXES: tuple[tuple[str, Callable[[Lexer, int], Expr]], ...] = (
    ("~", Lexer.regex),
    ("label:", Lexer.label),
    ("fact:", Lexer.fact),
)


def _any_of(tests: list[Matches]) -> Matches:
    if len(tests) == 1:
        return tests[0]
    return lambda name: any(test(name) for test in tests)

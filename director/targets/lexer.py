"""Splits a target expression into tokens; each term becomes an expression at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import director.targets.expressions as expressions
from director.globs import GlobError, compiled, has_magic
from director.ids import name_fault
from director.node_sets import LIMIT, FoldError, expand, is_folded
from director.targets.expressions import Expr, Fact, Label, Matches, Pattern, TargetSyntaxError
from director.targets.fact_matching import subnet
from director.targets.regexes import PatternError, Regex

MAX_GLOBS = 1_000
MAX_REGEXES = 250  # of one expression; each may take 1 MiB of memory
WORDS = ("and", "or", "not")
# There is one way to read each text: with two for a backslash, a quote that is not closed would take exponential time.
_QUOTES = r'"((?:[^"\\]|\\["\\]|\\(?!["\\]))*)"|' + "'([^']*)'"
_QUOTED = re.compile(_QUOTES)
_ESCAPE = re.compile(r'\\(["\\])')
_WORD = re.compile(rf"""(?:[^\s,()\[\]"']+|\[[^\]\s"']*\]|{_QUOTES})*""")  # brackets are of sets and globs
_VALUE = re.compile(rf"""(?:[^\s,()"']+|{_QUOTES})*""")  # brackets have no meaning
_REGEX_PART = re.compile(r"\\.?|\[(?:\\.|[^\]\s\\])*\]?|[^\s\\\[]", re.DOTALL)
_PATH = re.compile(r"[^\s,()=<>!\"']+")
_OPERATOR = re.compile(r"\s*(==|!=|<=|>=|=|<|>)\s*")
_NAMES_ONLY = re.compile(r"[A-Za-z0-9._*?\[\]!^,-]+")
_BLANK = re.compile(r"\s*")


class Token(NamedTuple):
    """`kind` is `and`, `or`, `not`, `(`, `)`, `end` or `term`; a comma is an `or`."""

    kind: str
    text: str
    at: int
    term: Expr | None = None


class Lexer:
    """Reads one expression from left to right. Each method that reads raises TargetSyntaxError."""

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
        word = self.word(_WORD, "a target")
        written = self.text[start : self.at]
        if written in WORDS:
            return Token(written, written, start)
        return Token("term", written, start, self.named(word, written, start))

    def word(self, what: re.Pattern[str], expected: str) -> str:
        """A word or a value, without its quotes."""
        start = self.at
        self.skip(what)
        sign = self.text[self.at : self.at + 1]
        if sign in ("'", '"'):
            raise self.fail("a quote is not closed")
        if sign in ("[", "]"):
            raise self.fail(f"{sign} is not closed or not opened; expected a set as in web-[01-40]")
        if self.at == start:
            raise self.fail(f"expected {expected}")
        return _QUOTED.sub(_inside, self.text[start : self.at])

    def value(self, expected: str) -> tuple[str, Matches | None]:
        """The value of a label or fact, and a function that matches it when it is a regex or a glob."""
        start = self.at
        if self.text.startswith("~", start):
            self.at += 1
            return "", self.regex()
        value = self.word(_VALUE, expected)
        return value, self.glob(value, start) if has_magic(value) else None

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
        if operator[1] not in ("=", "=="):
            raise self.fail("labels compare with = only; expected `not label:KEY=VALUE`", operator.start(1))
        value, matches = self.value("the label's value")
        return Label(self.text[start : self.at], key, value, matches)

    def fact(self, start: int) -> Expr:
        key = self.key("the name of a fact, as in fact:os.id=debian")
        operator = self.skip(_OPERATOR)
        if operator is None:
            raise self.fail("expected one of = != < <= > >= and a value behind the fact")
        sign, expected = operator[1].replace("==", "="), "the value to compare the fact with"
        if sign in ("=", "!="):
            value, matches = self.value(expected)
            matches = matches or subnet(value)
        else:
            value, matches = self.word(_VALUE, expected), None
        return Fact(self.text[start : self.at], key, sign, value, expressions.number_of(value), matches)

    def names_by_regex(self, start: int) -> Expr:
        matches = self.regex()
        return Pattern(self.text[start : self.at], matches)

    def regex(self) -> Matches:
        """A regex in quotes; else up to a blank, or up to a comma or parenthesis outside of its brackets."""
        begin = self.at
        pattern = self.quoted() if self.text.startswith(("'", '"'), begin) else self.bare_regex()
        if not pattern:
            raise self.fail("expected a regex behind ~", begin)
        self.regexes += 1
        if self.regexes > MAX_REGEXES:
            raise self.fail(f"more than {MAX_REGEXES} regexes; expected fewer, or a label", begin)
        try:
            return Regex(pattern).matches
        except PatternError as error:
            raise self.fail(f"the regex {error}", begin) from None

    def quoted(self) -> str:
        match = self.skip(_QUOTED)
        if match is None:
            raise self.fail("a quote is not closed")
        return _inside(match)

    def bare_regex(self) -> str:
        start, depth = self.at, 0
        while (part := _REGEX_PART.match(self.text, self.at)) and (depth or part[0] not in "),"):
            depth += (part[0] in "({") - (part[0] in ")}")
            self.at = part.end()
        return self.text[start : self.at]

    def named(self, word: str, written: str, start: int) -> Expr:
        """A word that is `all`, a name, a set or a glob."""
        if word == "all":
            return expressions.Everyone(written)
        if not has_magic(word):
            if fault := name_fault(word):
                more = ", label:KEY=VALUE or fact:NAME=VALUE" if "=" in word else ""
                raise self.fail(f"{word[:100]!r} {fault}; expected the name of a node{more}", start)
            return expressions.Name(written, word)
        if not _NAMES_ONLY.fullmatch(word):
            raise self.fail(f"{word[:100]!r} has characters that no name has; expected a name, set or glob", start)
        folded, starred = is_folded(word), "*" in word or "?" in word
        try:
            names = expand(word, min(self.left, MAX_GLOBS) if starred else self.left) if folded else [word]
        except FoldError as error:
            raise self.fail(str(error), start) from None
        self.left -= len(names)
        if folded and not starred:
            return expressions.Members(written, tuple(dict.fromkeys(names)))
        tests = [self.glob(name, start) for name in names]
        return Pattern(written, tests[0] if len(tests) == 1 else lambda name: any(test(name) for test in tests))

    def glob(self, glob: str, start: int) -> Matches:
        try:
            return compiled(glob)
        except GlobError as error:
            raise self.fail(f"{error}; expected a glob as in web-[a-f]*", start) from None


_PREFIXES: tuple[tuple[str, Callable[[Lexer, int], Expr]], ...] = (
    ("~", Lexer.names_by_regex),
    ("label:", Lexer.label),
    ("fact:", Lexer.fact),
)


def _inside(quoted: re.Match[str]) -> str:
    return quoted[2] if quoted[1] is None else _ESCAPE.sub(r"\1", quoted[1])

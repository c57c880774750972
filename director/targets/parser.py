"""The grammar of target expressions: words, quotes, `and`, `or`, `not`, commas and parentheses.

    expression  = conjunction { ("or" | ",") conjunction }
    conjunction = part { "and" part }
    part        = "not" part | "(" expression ")" | term
    term        = "all" | name | set | glob | "~" regex | "label:" key ["=" value] | fact
    fact        = "fact:" path operator value

A value is a text, a glob, or `~` and a regex; the value of a fact may also be a subnet.
Quotes keep a word together; globs work inside of them, and a backslash escapes the quote in double quotes.
Brackets with numbers, ranges and commas are a folded set, all others a glob's character class.
"""

from __future__ import annotations

from collections.abc import Callable

from director.targets.expressions import And, Expr, Not, Or, TargetSyntaxError, shorten
from director.targets.lexer import WORDS, Lexer, Token

MAX_TEXT = 1_000_000
MAX_DEPTH = 50
_A_TARGET = "a target: a name, web-[01-40], web-*, ~regex, label:KEY=VALUE, fact:NAME=VALUE or all"
_OPERATORS: tuple[tuple[str, Callable[[str, tuple[Expr, ...]], Expr]], ...] = (("or", Or), ("and", And))


def parse(text: str) -> Expr:
    """The expression of `text`. Raises TargetSyntaxError with the position and what was expected."""
    if len(text) > MAX_TEXT:
        raise TargetSyntaxError(f"longer than {MAX_TEXT} characters; expected a shorter one", text, MAX_TEXT)
    return _Parser(text, Lexer(text).tokens()).expression("end", "the end")


class _Parser:
    """Recursive descent over the tokens. Each method that reads raises TargetSyntaxError."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        self.text = text
        self.tokens = tokens
        self.next = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.next]

    def fail(self, expected: str) -> TargetSyntaxError:
        found, at = shorten(self.token.text), self.token.at
        hint = f" (did you mean {found.lower()}?)" if found.lower() in WORDS and found not in WORDS else ""
        return TargetSyntaxError(f"{found} is not expected here{hint}; expected {expected}", self.text, at)

    def take(self, kind: str) -> bool:
        if self.token.kind != kind:
            return False
        self.next += 1
        return True

    def written(self, start: int) -> str:
        """The text of the tokens read since number `start`."""
        last = self.tokens[self.next - 1]
        return self.text[self.tokens[start].at : last.at + len(last.text)]

    def expression(self, end: str, expected: str) -> Expr:
        """An expression and the token that ends it."""
        expr = self.joined(0)
        if not self.take(end):
            raise self.fail(f"and, or, a comma or {expected}")
        return expr

    def joined(self, level: int) -> Expr:
        """Parts joined by the operator of this level; of the last level, one part."""
        if level == len(_OPERATORS):
            return self.part()
        kind, join = _OPERATORS[level]
        start, parts = self.next, [self.joined(level + 1)]
        while self.take(kind):
            parts.append(self.joined(level + 1))
        return parts[0] if len(parts) == 1 else join(self.written(start), tuple(parts))

    def part(self) -> Expr:
        start = self.next
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.fail(f"at most {MAX_DEPTH} levels of parentheses and not")
        if self.take("not"):
            operand = self.part()
            expr: Expr = Not(self.written(start), operand)
        elif self.take("("):
            expr = self.expression(")", ")")
        elif (term := self.token.term) is not None:
            expr = term
            self.next += 1
        else:
            raise self.fail(_A_TARGET)
        self.depth -= 1
        return expr

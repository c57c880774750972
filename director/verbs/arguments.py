"""Reads arguments: `parse` puts raw words into the body, `apply` gets rendered words out of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from director.errors import VerbError
from director.language.braces import replace
from director.language.instructions import Instruction, arguments
from director.language.instructions import pairs as split_pairs
from director.language.words import literal, open_quote, whole_quoted
from director.verbs.interface import Argument, Node, Planning

_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Words:
    """An argument of words; as `Verb.argument` it puts the raw words under `words`.

    Attributes:
        wrong: the error when there are too few, or more than one where `key` is given.
        least: how many are needed.
        key: where the only word is put, instead of `words`.
    """

    wrong: str
    least: int = 1
    key: str = ""

    def __call__(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """The body. Raises LanguageError."""
        body = words(instruction, planning)
        if len(body["words"]) < self.least or (self.key and len(body["words"]) > 1):
            raise planning.fail(self.wrong)
        if self.key:
            (body[self.key],) = body.pop("words")
        return body


def words(instruction: Instruction, planning: Planning) -> dict[str, Any]:
    """`words`: the raw words of the argument, or of its JSON form. Raises LanguageError."""
    try:
        return _body(instruction, words=arguments(instruction))
    except ValueError as error:
        raise planning.fail(str(error)) from None


def whole(instruction: Instruction, planning: Planning) -> dict[str, Any]:
    """`text`: the argument as one raw word; a quote that is not closed is an ordinary character.

    Raises LanguageError for an empty argument.
    """
    text = instruction.text.strip()
    if not text:
        raise planning.fail(f"{instruction.verb} needs an argument")
    return _body(instruction, text=literal(text, instruction.escape) if open_quote(text, instruction.escape) else text)


def pairs(instruction: Instruction, planning: Planning) -> dict[str, Any]:
    """`pairs` [[name, raw value or None]], and `extend` with --extend-args. Raises LanguageError."""
    try:
        found = split_pairs(instruction)
        if not found:
            raise ValueError(f"{instruction.verb} needs a name; expected NAME=VALUE")
    except ValueError as error:
        raise planning.fail(str(error)) from None
    extend = {"extend": True} if planning.flags.get("extend-args") else {}
    return _body(instruction, pairs=[list(pair) for pair in found], **extend)


#: as `Verb.argument`
TEXT: Argument = staticmethod(whole)
PAIRS: Argument = staticmethod(pairs)


def escape_of(body: Mapping[str, Any]) -> str:
    """The escape character of the raw words in a body."""
    return str(body.get("escape", "\\"))


def rendered(body: Mapping[str, Any], key: str, node: Node, empty: str = "") -> str:
    """The raw word under `key`, rendered. Raises VerbError, with the text `empty` when nothing came out."""
    text = node.word(body[key], escape_of(body))
    if empty and not text:
        raise VerbError(empty)
    return text


def rendered_words(body: Mapping[str, Any], node: Node, what: str) -> list[str]:
    """`words` rendered; blanks that come out of values split them. Raises VerbError when no word is left."""
    found = [word for raw in body["words"] for word in node.word(raw, escape_of(body)).split()]
    if not found:
        raise VerbError(f"no {what} came out of {' '.join(body['words'])}")
    return found


def rendered_pairs(body: Mapping[str, Any], node: Node) -> dict[str, str]:
    """Name to text; no value may use another of the same instruction. Raises VerbError for an empty name."""
    escape = escape_of(body)
    rendered = {node.word(name, escape): node.word(value, escape) for name, value in body["pairs"]}
    if "" in rendered:
        raise VerbError("a name came out empty")
    return rendered


def plain_names(body: Mapping[str, Any], node: Node) -> list[str]:
    """Names whose whole value was quoted, which makes it text in templates (DSL.md section 3)."""
    return [node.word(name, escape_of(body)) for name, value in body["pairs"] if value and whole_quoted(value)]


def document(content: str) -> str:
    """A here-document prepared for `Node.document`: a backslash escapes only `$` and itself."""
    return replace(content, lambda piece: _ESCAPE.sub(_doubled, piece))


def _doubled(escape: re.Match[str]) -> str:
    return escape[0] if escape[1] in ("$", "\\") and escape[1] else "\\" + escape[0]


def _body(instruction: Instruction, **fields: Any) -> dict[str, Any]:
    return fields if instruction.escape == "\\" else {**fields, "escape": instruction.escape}

"""What verbs have in common when they read an argument: raw words into the body, rendered words out of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.errors import VerbError
from director.language.braces import replace
from director.language.words import arguments, literal, open_quote, whole_quoted
from director.language.words import pairs as split_pairs
from director.verbs.base import Node, Planning

if TYPE_CHECKING:
    from director.language.instructions import Instruction

_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)
_DOCUMENTS = {"[": "]", "{": "}"}


def words(instruction: Instruction, planning: Planning) -> dict[str, Any]:
    """`words`: the raw words of a list, of the JSON form if there is one."""
    try:
        return _body(instruction, words=arguments(instruction))
    except ValueError as error:
        raise planning.fail(str(error)) from None


def rendered_words(body: Mapping[str, Any], node: Node, what: str) -> list[str]:
    """`words` as rendered, split at blanks that came out of values. Raises VerbError when nothing is left."""
    escape = body.get("escape", "\\")
    found = [word for raw in body["words"] for word in node.word(raw, escape).split()]
    if not found:
        raise VerbError(f"no {what} came out of {' '.join(body['words'])}")
    return found


def whole(instruction: Instruction, planning: Planning) -> dict[str, Any]:
    """`text`: the whole line as one raw word; a quote that is never closed is an ordinary character in it."""
    text = instruction.text.strip()
    if not text:
        raise planning.fail(f"{instruction.verb} needs an argument")
    return _body(instruction, text=literal(text, instruction.escape) if open_quote(text, instruction.escape) else text)


def pairs(instruction: Instruction, planning: Planning) -> dict[str, Any]:
    """`pairs` [[name, raw value or None]]; a value that is a list or a mapping keeps its quotes."""
    try:
        found = raw_pairs(instruction)
        if not found:
            raise ValueError(f"{instruction.verb} needs a name; expected NAME=VALUE")
    except ValueError as error:
        raise planning.fail(str(error)) from None
    return _body(instruction, pairs=[list(pair) for pair in found])


def raw_pairs(instruction: Instruction) -> list[tuple[str, str | None]]:
    """Name and raw value of each pair; a value that is a list or a mapping keeps its quotes. Raises ValueError."""
    found = split_pairs(instruction)
    if instruction.pairs is not None:  # a mapping of YAML, whose values have no quotes of the line around them
        return found
    return [(name, value and _as_written(value, instruction.escape)) for name, value in found]


def rendered_pairs(body: Mapping[str, Any], node: Node) -> dict[str, str]:
    """Name to text; none of them sees another."""
    escape = body.get("escape", "\\")
    rendered = {node.word(name, escape): node.word(value, escape) for name, value in body["pairs"]}
    if "" in rendered:
        raise VerbError("a name came out empty")
    return rendered


def plain_names(body: Mapping[str, Any], node: Node) -> list[str]:
    """Names whose value was quoted as a whole, which makes it text in templates (DSL.md section 3)."""
    escape = body.get("escape", "\\")
    return [node.word(name, escape) for name, value in body["pairs"] if value and whole_quoted(value)]


def document(content: str) -> str:
    """The text of a here-document for `Node.document`, where a backslash escapes `$` and itself and is else itself."""
    return replace(content, lambda piece: _ESCAPE.sub(_doubled, piece))


def _doubled(escape: re.Match[str]) -> str:
    return escape[0] if escape[1] in ("$", "\\") and escape[1] else "\\" + escape[0]


def _as_written(raw: str, escape: str) -> str:
    """Quotes in a JSON document are part of the value, not of the line."""
    if raw[0] in _DOCUMENTS and raw[-1] == _DOCUMENTS[raw[0]] and raw[:2] not in ("{{", "{%"):
        return literal(raw, escape)
    return raw


def _body(instruction: Instruction, **fields: Any) -> dict[str, Any]:
    return fields if instruction.escape == "\\" else {**fields, "escape": instruction.escape}

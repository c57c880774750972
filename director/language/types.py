"""The types of texts in templates (DSL.md section 3), and the names that a template may use."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from director.errors import LanguageError
from director.language.origin import QUERY, SECRET, Relayed
from director.language.scope import RESERVED
from director.language.words import Written, whole_quoted

if TYPE_CHECKING:
    from director.runtime.yaml_text import Node, Pairs

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,300})")
_NUMBER = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:e[+-]?[0-9]{1,3})?")
MAX_DEPTH = 50
MAX_TYPED = 1 << 20  # characters; a longer list or mapping stays text


def typed(text: str) -> Any:
    """The value of a text in templates: a list, a mapping, true, false, a number, or the text itself."""
    if text == "true":
        return True
    if text == "false":
        return False
    first = text[:1]
    if first.isdigit() or first == "-":
        return _number(text)
    if whole_quoted(text):
        return _unquoted(text)
    bare = text.strip()
    if bare[:1] + bare[-1:] in ("[]", "{}") and len(bare) <= MAX_TYPED:
        return _collection(bare, text)
    return text


def _number(text: str) -> Any:
    """A number if it prints as the same text, else the text."""
    kind = int if _INTEGER.fullmatch(text) else float if _NUMBER.fullmatch(text) else str
    value = kind(text)
    return value if repr(value) == text else text


def _unquoted(text: str) -> Written:
    if text[0] == "'":
        return Written(text[1:-1])
    try:
        return Written(json.loads(text))
    except ValueError:
        return Written(re.sub(r"\\(.)", r"\1", text[1:-1]))


def _collection(bare: str, text: str) -> Any:
    """A list or mapping in JSON, Python or YAML's flow form; else the text."""
    if _depth(bare) > MAX_DEPTH:
        return text
    for read in (_json, ast.literal_eval, _yaml):
        try:
            value = read(bare)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, LanguageError):
            continue
        if isinstance(value, list | dict):
            return value
    return text


def _depth(text: str) -> int:
    """The most brackets that are open at once."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}()]", text):
        depth += 1 if bracket in "[{(" else -1
        deepest = max(deepest, depth)
    return deepest


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _json(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse)


def _yaml(text: str) -> Any:
    """YAML's flow form, with plain scalars typed by `typed` and not by YAML's rules."""
    from director.runtime.yaml_text import compose

    node = compose(text, "value")
    return None if node is None else plain(node)


class KeyFaultError(ValueError):
    """A key of a YAML mapping that is not allowed here; `line` is the key's."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def plain(node: Node, text_keys: bool = False) -> Any:
    """Lists, mappings and typed scalars of a YAML node.

    Args:
        text_keys: whether a key that is typed as something else than text is an error.

    Raises:
        KeyFaultError: a key is a list or a mapping, or not a text where it must be one.
    """
    from director.runtime.yaml_text import Items, Scalar

    if isinstance(node, Scalar):
        return node.text if node.style else _scalar(node.text)
    if isinstance(node, Items):
        return [plain(item, text_keys) for item in node.items]
    return {key_of(key, text_keys): plain(value, text_keys) for key, value in with_merged(node)}


def key_of(node: Node, text_keys: bool) -> Any:
    """The key of a node in a YAML mapping. Raises KeyFaultError as `plain`."""
    from director.runtime.yaml_text import Scalar

    if not isinstance(node, Scalar):
        raise KeyFaultError(
            "a key is a list or a mapping; expected a text; a value that begins with {{ must be quoted", node.line
        )
    key = plain(node)
    if text_keys and not isinstance(key, str):
        raise KeyFaultError(f"the key {node.text!r} is not text; quote it", node.line)
    return key


def with_merged(node: Pairs) -> list[tuple[Node, Node]]:
    """A mapping's pairs, first those of YAML's merge keys (`<<: *base`), as the later beat the earlier.

    Raises:
        KeyFaultError: a merge key has another value than a mapping or a list of mappings.
    """
    from director.runtime.yaml_text import Items, Pairs, Scalar

    own: list[tuple[Node, Node]] = []
    base: list[tuple[Node, Node]] = []
    for key, value in node.pairs:
        if not (isinstance(key, Scalar) and key.text == "<<" and not key.style):
            own.append((key, value))
            continue
        for one in value.items if isinstance(value, Items) else [value]:
            if not isinstance(one, Pairs):
                raise KeyFaultError("<< takes a mapping, or a list of mappings", key.line)
            base = [*with_merged(one), *base]
    return base + own


def _scalar(text: str) -> Any:
    return None if text in ("", "null", "~") else typed(text)


class Names(Mapping[str, Any]):
    """The names that a template may use; each value is typed when it is first used.

    Args:
        texts: ARGs and ENVs as written.
        facts: the facts of the node.
        node: `{"id": …, "labels": {…}}`.
        query: `{node: {name: text}}`.
        quoted: names whose value is written in quotes, and so is text.
        used: gets the names that were looked up.
        secret: gives the text of a secret by its name; None where a template may not use any.
    """

    def __init__(
        self,
        texts: Mapping[str, str],
        facts: Mapping[str, Any],
        node: Mapping[str, Any],
        query: Mapping[str, Mapping[str, Any]],
        quoted: Collection[str] = (),
        used: set[str] | None = None,
        secret: Callable[[str], str] | None = None,
    ) -> None:
        self.texts = texts if RESERVED.isdisjoint(texts) else {k: v for k, v in texts.items() if k not in RESERVED}
        self._built: dict[str, Any] = {"facts": facts, "node": node, **({SECRET: secret} if secret else {})}
        self._own = (*self._built, QUERY)
        self._query = query
        self._quoted = quoted
        self._used = set() if used is None else used

    def relayed(self) -> frozenset[str]:
        """The names with values that are made of what other nodes said."""
        return frozenset((QUERY, *(name for name, text in self.texts.items() if isinstance(text, Relayed))))

    def __getitem__(self, name: str) -> Any:
        self._used.add(name)
        if name not in self._built:
            self._built[name] = self._queried() if name == "query" else self._typed(name)
        return self._built[name]

    def _typed(self, name: str) -> Any:
        text = self.texts[name]
        return text if name in self._quoted else typed(text)

    def _queried(self) -> dict[str, dict[str, Any]]:
        return {
            node: {name: typed(value) if isinstance(value, str) else value for name, value in values.items()}
            for node, values in self._query.items()
        }

    def __contains__(self, name: object) -> bool:
        return name in self._built or name == QUERY or name in self.texts

    def __iter__(self) -> Iterator[str]:
        return iter((*self._own, *self.texts))

    def __len__(self) -> int:
        return len(self._own) + len(self.texts)

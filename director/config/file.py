"""Reads a settings file: `key: value` lines with a regex, any other YAML with PyYAML, which takes 16 ms to import."""

from __future__ import annotations

import re
from collections.abc import Iterable

from director import TYPE_CHECKING
from director.errors import UsageError

if TYPE_CHECKING:
    from director.runtime.yaml_text import Node

    Values = dict[str, str | list[str]]

_EMPTY = ("", "~", "null", "Null", "NULL")
_COMMENT = r"(?:\s+#.*)?"
_PLAIN = r"[\w/.~+](?:(?!\s#|:\s|:$)[^\t])*"  # begins no other YAML, and ends before a comment
_LINE = re.compile(rf"""([\w-]+):(?:\ +(?:'([^'"\\]*)'|"([^'"\\]*)"|({_PLAIN}))?)?{_COMMENT}""")


def read(text: str, file: str) -> Values:
    """Keys and their values as written; keys without a value are left out, and `roles`, which `roles.py` reads.

    Args:
        file: the name for messages.

    Raises:
        UsageError: the text is not a mapping to texts and lists of texts, or has a key twice; with the line.
    """
    found: Values = {}
    lines = _plain_lines(text)
    for key, value, line in _yaml_pairs(text, file) if lines is None else lines:
        if key in found:
            raise UsageError(f"{file}:{line}: {key} is set twice; expected once")
        found[key] = value
    return {key: value for key, value in found.items() if value not in _EMPTY and key != "roles"}


def _plain_lines(text: str) -> list[tuple[str, str, int]] | None:
    """Key, value and line number of each setting; None when the text has other lines than `key: value`."""
    found: list[tuple[str, str, int]] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip()
        if line[:1].isspace() and found and found[-1][:2] == ("roles", ""):
            continue  # who has which role; only the server reads it
        if line and not line.startswith("#"):
            match = _LINE.fullmatch(line)
            if match is None:
                return None
            found.append((match[1], (match[2] or match[3] or match[4] or "").strip(), number))
    return found


def _yaml_pairs(text: str, file: str) -> Iterable[tuple[str, str | list[str], int]]:
    from director.runtime.yaml_text import Pairs, Scalar, compose

    root = compose(text, file)
    if root is None:
        return
    if not isinstance(root, Pairs):
        raise UsageError(f"{file}:{root.line}: not a mapping; expected `setting: value` lines")
    for key, value in root.pairs:
        if not isinstance(key, Scalar):
            raise UsageError(f"{file}:{key.line}: a key is not a text; expected the name of a setting")
        yield key.text, "" if key.text == "roles" else _value(value, key.text, file), key.line


def _value(node: Node, key: str, file: str) -> str | list[str]:
    """A text, a list of texts, or for `arg` a mapping of texts as a list of `NAME=text`."""
    from director.runtime.yaml_text import Items, Scalar

    if isinstance(node, Scalar):
        return node.text
    parts: list[Node] = [node]
    if isinstance(node, Items):
        parts = node.items
    elif key == "arg":
        parts = [part for pair in node.pairs for part in pair]
    texts = [part.text for part in parts if isinstance(part, Scalar)]
    if len(texts) < len(parts):
        raise UsageError(f"{file}:{node.line}: the value of {key} is neither a text nor a list of texts")
    if isinstance(node, Items):
        return texts
    return [f"{name}={text}" for name, text in zip(texts[::2], texts[1::2], strict=True)]

"""YAML text to plain nodes and back; no other module imports PyYAML, which takes 16 ms.

Nodes keep line numbers and scalars as written: no tag, number or date is constructed. Depth, aliases and size are
bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from director.errors import LanguageError

MAX_DEPTH = 64
MAX_ALIASES = 100
MAX_NODES = 2_000_000  # with each alias counted as all the nodes of its anchor
_BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_FOLD = re.compile(r"[ \t]*\\?[ \t]*\n\s*")
_UNQUOTED_BRACES = re.compile(r"(?:^|[:\-\[,]\s*)\{[{%]")
_PLAIN_TAGS = frozenset((None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"))
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# control characters and marks that reorder text, which YAML would write as they are
_RISKY = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


@dataclass(slots=True)
class Scalar:
    """A text: as written when plain, else without its quotes or indentation.

    Attributes:
        line: from 1.
        style: `'`, `"`, `|` or `>`; "" when plain.
        weight: how many nodes it counts for.
    """

    text: str
    line: int
    style: str = ""
    weight: int = 1

    @property
    def absent(self) -> bool:
        """Whether nothing was written."""
        return not self.text and not self.style


@dataclass(slots=True)
class Items:
    """A list; `flow` when written in brackets."""

    line: int
    flow: bool
    items: list[Node]
    weight: int


@dataclass(slots=True)
class Pairs:
    """A mapping in the order written, repeated keys included; `flow` when written in braces."""

    line: int
    flow: bool
    pairs: list[tuple[Node, Node]]
    weight: int


Node = Scalar | Items | Pairs


def compose(text: str, file: str) -> Node | None:
    """The root node of the one document in `text`, None for an empty text.

    Args:
        file: the name for messages.

    Raises:
        LanguageError: the text is not YAML, has a tag or a second document, or exceeds a bound; with the line.
    """
    try:
        loader = _LOADER(text)
        try:
            return _Composer(text, file, loader.get_event).root()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise LanguageError(_message(error, text, line), file, line) from None
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)  # of a character that YAML does not allow
        line = len(_BREAK.split(text[: position if isinstance(position, int) else 0]))
        raise LanguageError(f"this is not YAML: {' '.join(str(error).split())}", file, line) from None


def dump(value: Any) -> str:
    """The YAML text of lists, mappings, texts, numbers, booleans and None."""
    text = str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))
    return _RISKY.sub(lambda found: f"\\u{ord(found.group()):04x}", text)  # in double quotes, see `_text_node`


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes texts with risky characters in double quotes, where they can be escaped."""


def _text_node(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _RISKY.search(text) else None)


_Dumper.add_representer(str, _text_node)


def _message(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    said = " ".join(" ".join(part for part in (error.context, error.problem) if part).split())
    if any(map(_UNQUOTED_BRACES.search, _BREAK.split(text)[max(0, line - 2) : line])):
        return f"a value that begins with {{{{ or {{% must be quoted: '{{{{ … }}}}' ({said})"
    return f"this is not YAML: {said}"


class _Composer:
    """Makes nodes of the parser's events."""

    def __init__(self, text: str, file: str, next_event: Callable[[], Any]) -> None:
        self._lines = _BREAK.split(text)
        self._file = file
        self._next = next_event
        self._anchors: dict[str, Node | None] = {}  # None while the node is not complete
        self._aliases = 0

    def root(self) -> Node | None:
        self._next()  # the start of the stream
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        root = self._node(self._next(), 0)
        self._next()  # the end of the document
        if not isinstance(event := self._next(), yaml.StreamEndEvent):
            raise self._error("there is a second document; expected one list in one file", event)
        return None if isinstance(root, Scalar) and root.absent else root

    def _node(self, event: Any, depth: int) -> Node:
        """The node that begins with `event`."""
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event)
        if event.tag not in _PLAIN_TAGS:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise self._error(f"the tag {tag} has no meaning here; values are text as written", event)
        line = event.start_mark.line + 1
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = Scalar(self._scalar(event), line, event.style or "")
        else:
            node = self._collection(event, depth)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _collection(self, event: Any, depth: int) -> Items | Pairs:
        if depth >= MAX_DEPTH:
            raise self._error(f"lists and mappings are nested more than {MAX_DEPTH} deep", event)
        if event.anchor:
            self._anchors[event.anchor] = None
        nodes: list[Node] = []
        weight = 1
        while not isinstance(child := self._next(), yaml.CollectionEndEvent):
            nodes.append(self._node(child, depth + 1))
            weight += nodes[-1].weight
            if weight > MAX_NODES:
                raise self._error(f"the aliases stand for more than {MAX_NODES} values", child)
        line, flow = event.start_mark.line + 1, bool(event.flow_style)
        if isinstance(event, yaml.SequenceStartEvent):
            return Items(line, flow, nodes, weight)
        return Pairs(line, flow, list(zip(nodes[::2], nodes[1::2], strict=True)), weight)

    def _aliased(self, event: Any) -> Node:
        self._aliases += 1
        if event.anchor not in self._anchors:
            raise self._error(f"*{event.anchor} has no anchor; expected &{event.anchor} before it", event)
        if self._aliases > MAX_ALIASES:
            raise self._error(f"there are more than {MAX_ALIASES} aliases", event)
        node = self._anchors[event.anchor]
        if node is None:
            raise self._error(f"*{event.anchor} is used inside of &{event.anchor}; expected it behind", event)
        return node

    def _error(self, message: str, event: Any) -> LanguageError:
        return LanguageError(message, self._file, event.start_mark.line + 1)

    def _scalar(self, event: Any) -> str:
        if event.style == ">":
            return self._folded(event)
        text: str = event.value
        return text.rstrip("\n") if event.style == "|" else text

    def _folded(self, event: Any) -> str:
        """A folded block as one line: each break, with blanks and a `\\` before it, becomes one blank."""
        end = event.end_mark.line + (1 if event.end_mark.column else 0)
        block = "\n".join(self._lines[event.start_mark.line + 1 : end]).strip()
        return _FOLD.sub(" ", block).removesuffix("\\").rstrip()

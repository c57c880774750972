"""The one door to PyYAML: a text as plain nodes with line numbers and scalars as written.

Nothing is constructed: no tag, no number, no date. Depth, aliases and size are bounded while the text is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from director.errors import LanguageError

MAX_DEPTH = 64
MAX_ALIASES = 100
MAX_NODES = 2_000_000  # every alias counted as what it stands for
_BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_FOLD = re.compile(r"[ \t]*\\?[ \t]*\n\s*")
_PLAIN_TAGS = frozenset((None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"))
_EVENTS = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Scalar:
    """A text: as written when plain, without its quotes or indentation otherwise; `style` as YAML's event has it."""

    text: str
    line: int
    style: str = ""
    weight: int = 1

    @property
    def absent(self) -> bool:
        """Nothing was written."""
        return not self.text and not self.style


@dataclass(slots=True)
class Items:
    """A list."""

    line: int
    flow: bool = False
    items: list[Node] = field(default_factory=list)
    weight: int = 1
    closed: bool = False

    def add(self, node: Node) -> None:
        """Take the next item."""
        self.items.append(node)


@dataclass(slots=True)
class Pairs:
    """A mapping, in the order written, keys twice included."""

    line: int
    flow: bool = False
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    weight: int = 1
    closed: bool = False
    key: Node | None = None

    def add(self, node: Node) -> None:
        """Take the next key or the value of the last one."""
        if self.key is None:
            self.key = node
        else:
            self.pairs.append((self.key, node))
            self.key = None


Node = Scalar | Items | Pairs


def compose(text: str, file: str) -> Node | None:
    """The root node of the one document in `text`, or None when there is nothing in it.

    Raises:
        LanguageError: what is wrong, with its line.
    """
    try:
        return _Composer(text, file).root()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise LanguageError(_plainly(error, text, line), file, line) from None
    except yaml.YAMLError as error:
        raise LanguageError(f"this is no YAML: {_one_line(str(error))}", file, _bad_line(error, text)) from None


def _plainly(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    lines = _BREAK.split(text)
    near = lines[max(0, line - 2) : line]
    if any(re.search(r"(?:^|[:\-\[,]\s*)\{[{%]", one) for one in near):
        return f"a value that begins with {{{{ or {{% must be quoted: '{{{{ … }}}}' ({_said(error)})"
    return f"this is no YAML: {_said(error)}"


def _said(error: yaml.MarkedYAMLError) -> str:
    return _one_line(" ".join(part for part in (error.context, error.problem) if part))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _bad_line(error: yaml.YAMLError, text: str) -> int:
    """The line of a character that YAML does not allow."""
    position = getattr(error, "position", 0)
    return len(_BREAK.split(text[: position if isinstance(position, int) else 0]))


class _Composer:
    def __init__(self, text: str, file: str) -> None:
        self._lines = _BREAK.split(text)
        self._file = file
        self._text = text
        self._anchors: dict[str, Node] = {}
        self._aliases = 0
        self._open: list[Items | Pairs] = []
        self._root: Node | None = None

    def root(self) -> Node | None:
        documents = 0
        for event in self._events():
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._wrong("there is a second document; expected one list in one file", event)
            else:
                self._take(event)
        if isinstance(self._root, Scalar) and self._root.absent:
            return None
        return self._root

    def _events(self) -> Iterator[Any]:
        loader = _EVENTS(self._text)
        try:
            while loader.check_event():
                yield loader.get_event()
        finally:
            loader.dispose()

    def _take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            self._check_tag(event)
            self._place(Scalar(self._scalar(event), line, event.style or ""), event)
        elif isinstance(event, yaml.AliasEvent):
            self._place(self._aliased(event), event)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._begin(Items(line, bool(event.flow_style)), event)
        elif isinstance(event, yaml.MappingStartEvent):
            self._begin(Pairs(line, bool(event.flow_style)), event)
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = self._open.pop()
            ended.closed = True
            self._place(ended, event)

    def _begin(self, node: Items | Pairs, event: Any) -> None:
        self._check_tag(event)
        if len(self._open) >= MAX_DEPTH:
            raise self._wrong(f"lists and mappings stand inside one another more than {MAX_DEPTH} times", event)
        if event.anchor:
            self._anchors[event.anchor] = node
        self._open.append(node)

    def _place(self, node: Node, event: Any) -> None:
        if isinstance(node, Scalar) and getattr(event, "anchor", None) and not isinstance(event, yaml.AliasEvent):
            self._anchors[event.anchor] = node
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        parent.add(node)
        parent.weight += node.weight
        if parent.weight > MAX_NODES:
            raise self._wrong(f"the aliases stand for more than {MAX_NODES} values", event)

    def _aliased(self, event: Any) -> Node:
        self._aliases += 1
        node = self._anchors.get(event.anchor)
        if node is None:
            raise self._wrong(
                f"*{event.anchor} stands for nothing; expected an anchor &{event.anchor} before it", event
            )
        if self._aliases > MAX_ALIASES:
            raise self._wrong(f"there are more than {MAX_ALIASES} aliases", event)
        if not isinstance(node, Scalar) and not node.closed:
            raise self._wrong(f"*{event.anchor} stands inside of what it stands for", event)
        return node

    def _check_tag(self, event: Any) -> None:
        if event.tag not in _PLAIN_TAGS:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise self._wrong(f"the tag {tag} has no meaning here; values are text as written", event)

    def _wrong(self, message: str, event: Any) -> LanguageError:
        return LanguageError(message, self._file, event.start_mark.line + 1)

    def _scalar(self, event: Any) -> str:
        if event.style == ">":
            return self._folded(event)
        text: str = event.value
        return text.rstrip("\n") if event.style == "|" else text

    def _folded(self, event: Any) -> str:
        """A folded block is one line: breaks and the blanks around become one blank, a `\\` before one is dropped."""
        end = event.end_mark.line + (1 if event.end_mark.column else 0)
        block = "\n".join(self._lines[event.start_mark.line + 1 : end]).strip()
        return _FOLD.sub(" ", block).removesuffix("\\").rstrip()

"""Finds where the filter `quote` stands in a shell's text without protecting.

It protects in plain text only: anywhere else the shell acts on what is in its quotes, or a quote or a line break of the
value ends what it stands in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from director.language.origin import WAYS_OUT, kind, uses_quote
from director.language.shell_text import UNKNOWN, Place

MAX_PLACES = 64
MAX_READ = 8 << 20  # characters that are read, those of loops and of several places more than once

Places = frozenset[Place]
_START = frozenset((Place(),))


def check_quotes(tree: Any) -> None:
    """Raises ValueError when `quote` stands where it does not protect.

    Args:
        tree: of Jinja; its output is a shell's text. All ways through conditions and loops are followed.
    """
    _Ways().body(tree.body, _START)


class _Ways:
    """Follows all ways through a template; each method gives the places behind what it follows."""

    def __init__(self) -> None:
        self._left = MAX_READ

    def body(self, nodes: Iterable[Any], places: Places) -> Places:
        """Nodes one after another, from these places."""
        for node in nodes:
            follow = getattr(self, f"_follow_{kind(node)}", None)
            places = follow(node, places) if follow else self.body(getattr(node, "body", ()), places)
            if len(places) > MAX_PLACES:
                places = frozenset((UNKNOWN,))
        return places

    def _follow_Output(self, node: Any, places: Places) -> Places:
        for child in node.nodes:
            if kind(child) == "TemplateData":
                self._left -= len(child.data) * len(places)
                if self._left < 0:
                    raise ValueError("there are too many ways through the template to judge its quotes")
                places = frozenset(place.behind(child.data) for place in places)
            else:
                places = self._print(child, places)
        return places

    def _print(self, node: Any, places: Places) -> Places:
        where = next((place.name for place in sorted(places) if place.name), "")
        if where and uses_quote(node):
            line = f" (line {node.lineno} of the text)" if node.lineno > 1 else ""
            raise ValueError(f"quote does not protect {where}{line}; {WAYS_OUT}")
        return frozenset(place.behind_value() for place in places)

    def _follow_If(self, node: Any, places: Places) -> Places:
        behind = self.body(node.body, places) | self.body(node.else_, places)
        return behind.union(*(self.body(other.body, places) for other in node.elif_))

    def _follow_For(self, node: Any, places: Places) -> Places:
        behind = places | self.body(node.else_, places)
        while True:
            before, behind = behind, behind | self.body(node.body, behind)
            if behind == before or UNKNOWN in behind:
                return behind

    def _follow_Macro(self, node: Any, places: Places) -> Places:
        """A body that is printed elsewhere."""
        self.body(node.body, _START)
        return places

    _follow_AssignBlock = _follow_Macro

    def _follow_FilterBlock(self, node: Any, places: Places) -> Places:
        """A body whose output is changed and then printed here."""
        self.body(node.body, _START)
        return self._print(node.filter, places)

    def _follow_CallBlock(self, node: Any, places: Places) -> Places:
        self.body(node.body, _START)
        return self._print(node.call, places)

"""ECHO: returns its text. It is the smallest verb, to begin with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from director.verbs.arguments import TEXT, rendered
from director.verbs.base import Node, Outcome, Verb, success


class Echo(Verb):
    """ECHO TEXT: return the text as the step's standard output.

    Templates and `$NAME` are replaced; quotes are removed as in a shell.

        ECHO {{ node.id }} has {{ facts.cpu.count }} processors
    """

    name = "ECHO"
    argument = TEXT
    looks = True
    pure = True
    trusts_chain = True

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Render the text."""
        return success(rendered(body, "text", node))

"""ECHO: returns its text. It is the smallest verb, to begin with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.verbs.arguments import whole
from director.verbs.base import Node, Outcome, Planning, Verb, success

if TYPE_CHECKING:
    from director.language.instructions import Instruction


class Echo(Verb):
    """ECHO TEXT: return the text as the step's standard output.

    Templates and `$NAME` are replaced; quotes are removed as in a shell.

        ECHO {{ node.id }} has {{ facts.cpu.count }} processors
    """

    name = "ECHO"
    pure = True
    trusts_chain = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`text`, raw; `escape` when it is not the backslash."""
        return whole(instruction, planning)

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Render the text."""
        return success(node.word(body["text"], body.get("escape", "\\")))

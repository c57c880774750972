"""ECHO: returns its text; the smallest example of a verb."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.verbs.arguments import whole
from director.verbs.base import Node, Outcome, Planning, Verb, success

if TYPE_CHECKING:
    from director.language.instructions import Instruction


class Echo(Verb):
    """ECHO TEXT: return the text as the step's standard output.

    ARGs and ENVs, facts and templates are filled in; quotes are taken away as in a shell.

        ECHO {{ node.id }} has {{ facts.cpu.count }} processors
    """

    name = "ECHO"
    pure = True
    trusts_chain = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`text`, and `escape` where it is not the backslash."""
        return whole(instruction, planning)

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Render the text."""
        return success(node.word(body["text"], body.get("escape", "\\")))

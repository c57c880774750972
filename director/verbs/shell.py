"""SHELL: names the program that runs commands in shell form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.verbs.base import Node, Outcome, Planning, Verb, success

if TYPE_CHECKING:
    from director.language.instructions import Instruction


class Shell(Verb):
    """SHELL ["PROGRAM", "ARGUMENT"…]: run commands in shell form with this program, until the end of the stage.

    That holds for RUN, `WAIT --cmd` and HEALTHCHECK CMD. The command is added as the last argument. SHELL has the JSON
    form only.

        SHELL ["/bin/bash", "-o", "pipefail", "-c"]
    """

    name = "SHELL"
    json_form = True
    needs = 'a JSON list such as ["/bin/bash", "-c"]'
    pure = True
    always = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`shell`: the words, raw."""
        if not instruction.args or not instruction.args[0]:
            raise planning.fail('SHELL takes the JSON form only; expected SHELL ["/bin/sh", "-c"]')
        return {"shell": list(instruction.args)}

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Set it for the next steps."""
        return success(shell=[node.word(word) for word in body["shell"]])

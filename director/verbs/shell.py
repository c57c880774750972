"""SHELL: what runs the shell form of commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.verbs.base import Node, Outcome, Planning, Verb, success

if TYPE_CHECKING:
    from director.language.instructions import Instruction


class Shell(Verb):
    """SHELL ["PROGRAM", "ARGUMENT"…]: what runs the shell form of RUN, `WAIT --cmd` and HEALTHCHECK CMD, until the
    end of the stage. The command is its last argument. JSON form only.

        SHELL ["/bin/bash", "-o", "pipefail", "-c"]
    """

    name = "SHELL"
    json_form = True
    needs = 'a JSON list such as ["/bin/bash", "-c"]'
    pure = True
    always = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`shell` [word], raw."""
        if not instruction.args or not instruction.args[0]:
            raise planning.fail('SHELL takes the JSON form only; expected SHELL ["/bin/sh", "-c"]')
        return {"shell": list(instruction.args)}

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """From the next step on."""
        return success(shell=[node.word(word) for word in body["shell"]])

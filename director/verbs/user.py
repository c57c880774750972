"""USER: sets the user that runs the commands of the stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.errors import VerbError
from director.verbs.arguments import words
from director.verbs.base import Node, Outcome, Planning, Verb, success

if TYPE_CHECKING:
    from director.language.instructions import Instruction


class User(Verb):
    """USER NAME[:GROUP]: run the commands that follow as this user, until the end of the stage.

    User and group are names or numbers. Without a group the commands have all groups of the user.

        USER postgres
        RUN whoami
    """

    name = "USER"
    needs = "user[:group]"
    pure = True
    always = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`user`, raw."""
        body = words(instruction, planning)
        if len(body["words"]) != 1:
            raise planning.fail("USER takes one word; expected USER name[:group]")
        return {"user": body["words"][0], **{name: body[name] for name in ("escape",) if name in body}}

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Set the user; it need not exist before a command is run."""
        user = node.word(body["user"], body.get("escape", "\\")).strip()
        if not user or user.startswith(":"):
            raise VerbError("USER came out empty; expected name[:group]")
        return success(user=user)

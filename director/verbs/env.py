"""ENV: values for the rest of the job, in templates, `$X` and the environment of RUN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.verbs.base import Node, Outcome, Planning, Verb, success
from director.verbs.reading import pairs, plain_names, rendered_pairs

if TYPE_CHECKING:
    from director.language.instructions import Instruction


class Env(Verb):
    """ENV NAME=VALUE…: set environment variables for the rest of the job on the node.

    Templates, `$NAME` and the environment of RUN see them; they beat an ARG of the same name.
    Values of one instruction do not see each other.

        ENV LANG=C.UTF-8 GREETING="good morning"
        ENV MESSAGE all of this line
    """

    name = "ENV"
    pure = True
    always = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`pairs` [[name, value]], both raw."""
        body = pairs(instruction, planning)
        for name, value in body["pairs"]:
            if value is None:
                raise planning.fail(f"ENV {name} has no value; expected {name}=VALUE")
        return body

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Set them all at once."""
        effects: dict[str, Any] = {"env": rendered_pairs(body, node)}
        if quoted := plain_names(body, node):
            effects["quoted"] = quoted
        return success(**effects)

"""ENV: sets values for the rest of the job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.verbs.arg import join
from director.verbs.arguments import pairs, plain_names, rendered_pairs
from director.verbs.base import EXTEND, Node, Outcome, Planning, Verb, success

if TYPE_CHECKING:
    from director.language.instructions import Instruction


class Env(Verb):
    """ENV NAME=VALUE…: set environment variables for the rest of the job on the node.

    Templates, `$NAME` and the environment of RUN have them; they beat an ARG of the same name.
    A value cannot use another one of the same instruction.

        ENV LANG=C.UTF-8 GREETING="good morning"
        ENV MESSAGE all of this line
    """

    name = "ENV"
    mapping = True
    sets = "env"
    needs = "KEY=VALUE"
    flags = (EXTEND,)
    owned = frozenset(("extend-args",))
    pure = True
    always = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`pairs` [[name, value]], both raw, and `extend` with --extend-args."""
        body = pairs(instruction, planning)
        for name, value in body["pairs"]:
            if value is None:
                raise planning.fail(f"ENV {name} has no value; expected {name}=VALUE")
        return body

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Render all values, then set them."""
        values = rendered_pairs(body, node)
        if body.get("extend"):
            earlier = node.scope.env
            values = {n: join(earlier[n], value) if n in earlier else value for n, value in values.items()}
        effects: dict[str, Any] = {"env": values}
        if quoted := plain_names(body, node):
            effects["quoted"] = quoted
        return success(**effects)

"""REBOOT: restarts the node, and goes on when it is back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.verbs.base import Node, Outcome, Planning, Verb

if TYPE_CHECKING:
    from director.language.instructions import Instruction


class Reboot(Verb):
    """REBOOT [SECONDS]: restart the host, SECONDS after nothing else runs on it (default 0).

    New tasks are held back. The step is `running` until the client is back after another boot, or `timeout`.

        REBOOT --timeout 10m 5
    """

    name = "REBOOT"
    complete = True
    trusts_chain = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`seconds`."""
        text = instruction.text.strip()
        if not text:
            return {"seconds": 0.0}
        from director.durations import parse

        try:
            return {"seconds": parse(text)}
        except ValueError as error:
            raise planning.fail(f"REBOOT: {error}") from None

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """The executor does it."""
        return node.reboot(body["seconds"])

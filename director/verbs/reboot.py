"""REBOOT: restarts the node and goes on after the boot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from director.durations import parse
from director.language.instructions import Instruction
from director.verbs.base import Node, Outcome, Planning, Verb


class Reboot(Verb):
    """REBOOT [SECONDS]: restart the host when no other task runs on it, after SECONDS (default 0).

    No new task is started meanwhile. The step is `running` until the client is connected after another boot; it ends
    as `timeout` when that takes too long.

        REBOOT --timeout 10m 5
    """

    name = "REBOOT"
    complete = True
    trusts_chain = True
    restarts = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`seconds`."""
        try:
            return {"seconds": parse(instruction.text.strip() or "0")}
        except ValueError as error:
            raise planning.fail(f"REBOOT: {error}") from None

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """The client restarts the host."""
        return node.reboot(body["seconds"])

"""LABEL: sets labels of the node, which targets can name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from director.errors import VerbError
from director.verbs.arguments import pairs, rendered_pairs
from director.verbs.base import Node, Outcome, Planning, Verb, cached, success

if TYPE_CHECKING:
    from director.language.instructions import Instruction


LABELS, LABEL_BYTES = 1000, 64 * 1024  # of one node; it sends all of them to the server at each connection


class Label(Verb):
    """LABEL NAME=VALUE…: set labels of the node; `NAME=` removes one.

        LABEL tier=web rack="A 12"

    The node keeps them, and targets can name them: `director --target label:tier=web --exec 'RUN uptime'`.
    """

    name = "LABEL"
    mapping = True
    needs = "KEY=VALUE"
    compares = True
    pure = True
    always = True

    def parse(self, instruction: Instruction, planning: Planning) -> dict[str, Any]:
        """`pairs` [[name, value]], both raw."""
        body = pairs(instruction, planning)
        for name, value in body["pairs"]:
            if value is None:
                raise planning.fail(f"LABEL {name} has no value; expected {name}=VALUE, or {name}= to remove it")
        return body

    def apply(self, body: Mapping[str, Any], flags: Mapping[str, Any], node: Node) -> Outcome:
        """Cached when the node has them already."""
        wanted = {name: value or None for name, value in rendered_pairs(body, node).items()}
        _check_room({**node.labels, **wanted})
        if all(node.labels.get(name) == value for name, value in wanted.items()):
            return cached(labels=wanted)
        return success(labels=wanted)


def _check_room(labels: Mapping[str, str | None]) -> None:
    """Raise VerbError when the node would have too many labels."""
    kept = {name: value for name, value in labels.items() if value is not None}
    size = sum(len(name.encode()) + len(value.encode()) for name, value in kept.items())
    if len(kept) > LABELS or size > LABEL_BYTES:
        raise VerbError(
            f"the node would have {len(kept)} labels of {size} bytes; "
            f"expected at most {LABELS} of {LABEL_BYTES >> 10} KiB together"
        )

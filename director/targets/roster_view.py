"""What target expressions need to know of the enrolled nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol


class RosterView(Protocol):
    """The enrolled nodes, without pending and revoked ones."""

    def names(self) -> Iterable[str]:
        """Every enrolled node, in any order."""

    def has(self, name: str) -> bool:
        """Whether a node of this name is enrolled."""

    def online(self, name: str) -> bool:
        """Whether the node is online now."""

    def labels(self, name: str) -> Mapping[str, str]:
        """The node's labels."""

    def facts(self, name: str) -> Mapping[str, Any]:
        """The node's facts; called only for expressions with facts, as they may have to be parsed."""

"""What settling a target may ask about the fleet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol


class RosterView(Protocol):
    """The enrolled nodes; pending and revoked ones are not among them."""

    def names(self) -> Iterable[str]:
        """Every enrolled node, in any order."""

    def has(self, name: str) -> bool:
        """Whether a node of this name is enrolled."""

    def online(self, name: str) -> bool:
        """Whether it is online now."""

    def labels(self, name: str) -> Mapping[str, str]:
        """Its labels."""

    def facts(self, name: str) -> Mapping[str, Any]:
        """Its facts; asked only when a fact is, as they may have to be parsed."""

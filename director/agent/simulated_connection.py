"""The connection of a simulated client, which keeps nothing on disk."""

from __future__ import annotations

from director.agent.connection import Connection


class SimulatedConnection(Connection):
    """Trusts the server that answered first, as long as the process lives."""

    _key: str | None = None

    def pinned(self) -> str | None:
        """The key of the first answer."""
        return self._key

    def pin(self, key: str) -> None:
        """Trust this key."""
        self._key = key

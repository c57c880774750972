"""A client's link that keeps nothing on disk, for simulated clients."""

from __future__ import annotations

from director.agent.connection import Connection
from director.agent.core import Agent
from director.protocol.keys import KeyPair
from director.protocol.transport import Context


class SimulatedConnection(Connection):
    """Trusts the server that answered first, as long as the process lives."""

    def __init__(
        self,
        agent: Agent,
        context: Context,
        pair: KeyPair,
        address: str,
        port: int,
        enroll_port: int,
    ) -> None:
        super().__init__(agent, context, pair, "", address, port, enroll_port)
        self._key: str | None = None

    def pinned(self) -> str | None:
        """The key of the first answer."""
        return self._key

    def pin(self, key: str) -> None:
        """Trust it."""
        self._key = key

"""Sends messages to nodes through the ROUTER; a node gets its due acknowledgement before anything else."""

from __future__ import annotations

from director.protocol import messages
from director.protocol.transport import SENT, Router
from director.server.acknowledgements import Acknowledgements
from director.server.roster import NodeRecord, Roster


class NodeSender:
    """Sends to sessions, and to connections that have none yet.

    Attributes:
        acknowledgements: of results; each is sent at the latest before the node's next message.
    """

    def __init__(self, router: Router, roster: Roster) -> None:
        self._router, self._roster = router, roster
        self.acknowledgements = Acknowledgements(self._queue)

    def send(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...] = ()) -> bool:
        """Queue a message for a node; False when it surely was not delivered. The node must say hello again then."""
        self.acknowledgements.flush(record)
        return self._queue(record, header, frames)

    def send_to(self, peer: bytes, header: bytes) -> bool:
        """Queue a message for a connection; False when the connection is gone or full."""
        return self._router.send(peer, header) == SENT

    def identify(self, peer: bytes, within: float = 0.0) -> bool:
        """Ask a connection for a hello at a random moment within so many seconds; False when it is gone or full."""
        return self.send_to(peer, messages.encode("identify", v=messages.VERSION, within=round(within, 3)))

    def _queue(self, record: NodeRecord, header: bytes, frames: tuple[bytes, ...]) -> bool:
        if record.peer is None:
            return False
        if self._router.send(record.peer, header, *frames) == SENT:
            return True
        self._roster.detach(record)
        return False

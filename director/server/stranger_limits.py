"""Limits for peers of the nodes' port that are no nodes: their connections, their bytes, their requests for names.

The library tells of each connection before anything is read from it. A connection belongs to the crowd until a message
over it has shown a node's key; the crowd has room for the nodes that are away, beside a fixed number of others. So raw
connections keep neither a new client nor a fleet that comes back out for long: the oldest ones are ended first.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from logging import getLogger

from director.protocol.transport import RECEIVED, Frame, Router, bytes_of, connection_of, cut
from director.runtime.greenlets import periodic, spawn
from director.runtime.logs import Seldom
from director.server.crowd import Crowd
from director.server.rates import Buckets
from director.server.roster import Roster

OF_ADDRESS, TOGETHER = 1000, 5000  # connections, beside one for each node that is away
AGE = 30.0  # seconds until a connection must have shown a node's key; who waits for a name connects again
BYTES = 64 * 1024  # that may come over a connection before
TICK = 0.25  # seconds
LOOKS = 500  # connections whose bytes are looked at in one tick
KEY_BURST, KEY_RATE = 4, 0.2  # requests for names of one key
PROOF_BURST, PROOF_RATE = 12_000, 500.0  # requests with a proof, whose check takes a tenth of a millisecond
KEYS = 100_000

seldom = Seldom(getLogger(__name__))
Connection = tuple[int, int]  # descriptor and inode


class StrangerLimits:
    """Watches the connections of the router."""

    def __init__(self, router: Router, roster: Roster) -> None:
        self._roster = roster
        self._crowd: Crowd[Connection] = Crowd(OF_ADDRESS, TOGETHER)
        self._by_descriptor: dict[int, Connection] = {}
        self._looks: deque[Connection] = deque()
        self._keys = Buckets(KEY_BURST, KEY_RATE, KEYS)
        self._proofs = Buckets(PROOF_BURST, PROOF_RATE, 1)
        spawn("connections", router.watch_connections, self.opened, self.closed, vital=True)
        periodic("strangers", TICK, self.tick)

    def may_ask(self, key: str, with_proof: bool) -> bool:
        """Whether a key may ask for a name now."""
        now = time.monotonic()
        return self._keys.take(key, now) and (not with_proof or self._proofs.take("", now))

    def is_node(self, frame: Frame) -> None:
        """The connection of this message has shown the key of a node."""
        self._crowd.remove(connection_of(frame))

    def opened(self, descriptor: int) -> None:
        """A connection was accepted; nothing is known of its peer but the address."""
        try:
            connection = (descriptor, os.fstat(descriptor).st_ino)
            with socket.socket(fileno=os.dup(descriptor)) as peer:
                address = str(peer.getpeername()[0])
        except (OSError, IndexError):
            return  # it is closed already
        self._by_descriptor[descriptor] = connection
        away = len(self._roster.nodes) - len(self._roster.by_peer)
        victim = self._crowd.add(connection, address, time.monotonic(), max(0, away))
        if victim is not None:
            self._end(victim, f"{address} has more connections than strangers may have")

    def closed(self, descriptor: int) -> None:
        """A connection has ended."""
        connection = self._by_descriptor.pop(descriptor, None)
        if connection is not None:
            self._crowd.remove(connection)

    def tick(self) -> None:
        """End connections of strangers that are too old or have sent too much."""
        for connection in self._crowd.older_than(time.monotonic() - AGE):
            self._end(connection, f"it has shown no node's key in {AGE:g} s")
        if not self._looks:
            self._looks.extend(self._crowd)
        for _ in range(min(LOOKS, len(self._looks))):
            connection = self._looks.popleft()
            if connection in self._crowd and bytes_of(connection, RECEIVED) > BYTES:
                self._end(connection, f"it sent more than {BYTES >> 10} KiB without a node's key")

    def _end(self, connection: Connection, why: str) -> None:
        seldom.warning("the connection of a stranger is ended: %s", why)
        self._crowd.remove(connection)
        cut(connection)


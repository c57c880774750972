"""Limits for peers of the nodes' port that are no nodes: their connections, their bytes, their requests for names.

A node's key may have a few connections: one session, and those of restarts and copies.

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

from director.protocol.connections import RECEIVED, Frame, bytes_of, connection_of, cut
from director.protocol.transport import Router
from director.runtime.greenlets import periodic, spawn
from director.runtime.logs import Seldom
from director.server.crowd import Crowd
from director.server.rates import Buckets
from director.server.roster import NodeRecord, Roster

OF_ADDRESS, TOGETHER = 1000, 5000  # connections, beside one for each node that is away
OF_KEY = 8  # connections that have shown the key of one node; for one more, the oldest without a session is ended
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
        self._shown: dict[str, list[Connection]] = {}  # by the node's key; the oldest first
        self._key_of: dict[Connection, str] = {}
        self._keys = Buckets(KEY_BURST, KEY_RATE, KEYS)
        self._proofs = Buckets(PROOF_BURST, PROOF_RATE, 1)
        spawn("connections", router.watch_connections, self.opened, self.closed, vital=True)
        periodic("strangers", TICK, self.tick)

    def may_ask(self, key: str, with_proof: bool) -> bool:
        """Whether a key may ask for a name now."""
        now = time.monotonic()
        return self._keys.take(key, now) and (not with_proof or self._proofs.take("", now))

    def is_node(self, record: NodeRecord, key: str, frame: Frame) -> None:
        """The connection of this message has shown a key of a node."""
        connection = connection_of(frame)
        if connection in self._key_of or connection[0] < 0:
            return
        self.closed(connection[0])  # what was known of this descriptor
        self._by_descriptor[connection[0]] = connection  # the library may not have told of it yet
        self._key_of[connection] = key
        shown = self._shown.setdefault(key, [])
        shown.append(connection)
        if len(shown) > OF_KEY:
            oldest = next(one for one in shown if one != record.connection)
            seldom.warning("a connection of %s is ended: it has more than %d", record.name, OF_KEY)
            self._forget(oldest)
            cut(oldest)

    def opened(self, descriptor: int) -> None:
        """A connection was accepted; nothing is known of its peer but the address."""
        try:
            connection = (descriptor, os.fstat(descriptor).st_ino)
            with socket.socket(fileno=os.dup(descriptor)) as peer:
                address = str(peer.getpeername()[0])
        except (OSError, IndexError):
            return  # it is closed already
        if self._by_descriptor.get(descriptor) == connection:  # a message over it was read before
            return
        self.closed(descriptor)
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
            self._forget(connection)

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

    def _forget(self, connection: Connection) -> None:
        key = self._key_of.pop(connection, None)
        if key is not None:
            self._shown[key].remove(connection)
            if not self._shown[key]:
                del self._shown[key]

    def _end(self, connection: Connection, why: str) -> None:
        seldom.warning("the connection of a stranger is ended: %s", why)
        self._crowd.remove(connection)
        cut(connection)

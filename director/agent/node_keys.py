"""The key pairs of a client, and during a rotation those that are to replace them.

Both are kept until the server has welcomed this client with the new one: whichever the server knows after a crash of
either side, the client has it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from director.errors import StartError
from director.protocol import keys, messages
from director.runtime.durable import sync_folder

log = logging.getLogger(__name__)

CURRENT, NEXT = "curve.key", "curve.key.new"


class NodeKeys:
    """Which key this client connects with.

    Args:
        folder: where the files are; "" keeps the pairs in memory.

    Attributes:
        pair: to connect with.

    Raises:
        StartError: a file cannot be read or written, or contains no pair.
    """

    def __init__(self, folder: str = "") -> None:
        self._folder = folder
        self._current = self._load_or_make(CURRENT)
        started = bool(folder) and os.path.exists(os.path.join(folder, NEXT))
        self._next = self._load_or_make(NEXT, self._current.opening) if started else None
        self.pair = self._next or self._current

    def make_next(self) -> keys.KeyPair:
        """The new pair, which is on disk; the same one until it has replaced the present one. Raises StartError."""
        if self._next is None:
            self._next = self._load_or_make(NEXT, self._current.opening)
        return self._next

    def _load_or_make(self, name: str, former: tuple[str, ...] = ()) -> keys.KeyPair:
        if not self._folder:
            return keys.with_opening(keys.new_pair(), former)
        return keys.load_or_make(self._folder, name, opens=True, former=former)

    def use_next(self, public: str) -> bool:
        """Connect with the new pair, if this is its public key; whether that is a change."""
        if self._next is None or self._next.public != public or self.pair is self._next:
            return False
        self.pair = self._next
        return True

    def fall_back(self) -> bool:
        """The server does not know the key: connect with the former one; False when this is it."""
        if self.pair is self._current:
            return False
        self.pair = self._current
        return True

    def welcomed(self) -> None:
        """The server has welcomed this client with `pair`: a former one is of no use any more."""
        if self.pair is self._next:
            self._forget_former()

    def _forget_former(self) -> None:
        try:
            if self._folder:
                os.rename(os.path.join(self._folder, NEXT), os.path.join(self._folder, CURRENT))
                sync_folder(self._folder)
        except OSError as error:  # both stay; the next start uses the new one
            log.error("the key file %s cannot be replaced: %s", CURRENT, error.strerror)
            return
        self._current, self._next = self.pair, None
        log.info("the key %s… is this client's from now on", self.pair.public[:12])


class KeyRotation:
    """Handles `rotate`, `key_noted`, and an `identify` that says that the server does not know the key.

    Args:
        send: queues one message for the server.
        identify: handles every other `identify`.
        reconnect: connects anew, with the key of `node_keys` then.
    """

    def __init__(
        self, node_keys: NodeKeys, send: Callable[..., bool], identify: Callable[[dict[str, Any]], None],
        reconnect: Callable[[], None],
    ) -> None:  # fmt: skip
        self._keys, self._send, self._identify, self._reconnect = node_keys, send, identify, reconnect
        self.handlers = {"rotate": self._rotate, "key_noted": self._noted, "identify": self._asked}

    def _rotate(self, fields: dict[str, Any]) -> None:
        try:
            self._send(messages.encode("new_key", key=self._keys.make_next().public))
        except StartError as error:  # the server asks again at the next hello
            log.error("this client's key stays as it is: %s", error)

    def _noted(self, fields: dict[str, Any]) -> None:
        if self._keys.use_next(fields["key"]):
            self._reconnect()

    def _asked(self, fields: dict[str, Any]) -> None:
        if not fields["known"] and self._keys.fall_back():  # never ask for a name while the former key may have it
            self._reconnect()
        else:
            self._identify(fields)

"""Signs of life: a caller that waits for an answer hears from the server all the while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

from director.protocol.framing import Channel, encode
from director.runtime.greenlets import spawn

FIRST = 0.25  # seconds: a call that is about to end learns soon whether the server lives
EVERY = 5.0  # seconds
SIGN = encode({"alive": True})


class CallersChannel(Channel):
    """A caller's connection: whoever sends a frame waits until the one before it is out."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock, take_fds=True)
        self._sending = BoundedSemaphore(1)
        self._at_work = False

    def send_encoded(self, *frame: Any) -> None:
        """As of a channel."""
        with self._sending:
            super().send_encoded(*frame)

    @contextlib.contextmanager
    def signs_of_life(self) -> Iterator[None]:
        """While the block works on an answer the caller gets `{"alive": true}` after 0.25 s, then every 5 s."""
        self._at_work = True
        signs = spawn("signs of life", self._sign, vital=False, after=FIRST)
        try:
            yield
        finally:
            self._at_work = False
            signs.kill(block=False)

    def _sign(self) -> None:
        while True:
            with self._sending:
                if not self._at_work:  # the answer went while this sign waited for its turn
                    return
                try:
                    super().send_encoded(SIGN)
                except OSError:
                    return  # the caller has left, which the command finds out by itself
            gevent.sleep(EVERY)

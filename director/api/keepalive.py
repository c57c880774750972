"""Sends signs of life to a caller that waits for an answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

from director.protocol.framing import Channel, encode
from director.runtime.greenlets import spawn

FIRST = 0.25  # seconds; the first sign is early, for calls that are about to end
EVERY = 5.0  # seconds
SIGN = encode({"alive": True})


class CallersChannel(Channel):
    """A caller's connection; frames of several greenlets are sent one after another."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock, take_fds=True)
        self._sending = BoundedSemaphore(1)
        self._at_work = False

    def send_encoded(self, *frame: Any) -> None:
        """See `Channel.send`."""
        with self._sending:
            super().send_encoded(*frame)

    @contextlib.contextmanager
    def signs_of_life(self) -> Iterator[None]:
        """A context in which the caller gets `{"alive": true}` after 0.25 s, then every 5 s."""
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
                if not self._at_work:  # the answer was sent while this sign waited for its turn
                    return
                try:
                    super().send_encoded(SIGN)
                except OSError:
                    return  # the caller has left; the command notices that itself
            gevent.sleep(EVERY)

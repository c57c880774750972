"""A ZeroMQ socket that gevent can wait on.

It is a plain pyzmq socket with a watcher on the socket's descriptor; `zmq.green` takes three times as long for a
message. The descriptor is edge-triggered. So one greenlet reads a socket, and reads all messages before it waits;
and after sends the socket's events are read again, because a send may consume the edge.
"""

from __future__ import annotations

import time
from typing import Any

import gevent
import zmq
from gevent import get_hub
from zmq.backend import Socket as Raw

from director.runtime.greenlets import breathe

EVENTS = int(zmq.EVENTS)
POLLIN = int(zmq.POLLIN)
BURST = 0.005  # seconds that a reader runs before other greenlets get a turn
QUIET = 60.0  # seconds after which the events are read again, in case an edge was missed


class WatchedSocket:
    """A socket that one greenlet reads; any greenlet may send on it."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket
        self._hub = get_hub()
        self._loop = self._hub.loop
        self._reader: Any = None  # the greenlet that waits; an Event would cost several times as much for each message
        self._check_is_due = False
        self._watcher = self._loop.io(socket.FD, 1)
        self._watcher.start(self._wake)
        self._timer = self._loop.timer(QUIET, QUIET)
        self._timer.start(self._check)
        self._turn = 0.0

    def close(self) -> None:
        """Close the socket; messages that were not sent yet are dropped."""
        self._watcher.stop()
        self._watcher.close()
        self._timer.close()
        self.socket.close(linger=0)
        self._loop.run_callback(self._wake)

    def check_soon(self) -> None:
        """Read the events once after all sends of this turn: one of them may have consumed the reader's edge."""
        if not self._check_is_due:
            self._check_is_due = True
            self._loop.run_callback(self._check)

    def _check(self) -> None:
        self._check_is_due = False
        if not self.socket.closed and self._is_readable():
            self._wake()

    def _wake(self) -> None:
        """Called by the event loop: let the reader go on, when it waits."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.switch()

    def _is_readable(self) -> bool:
        return bool(int(Raw.get(self.socket, EVENTS)) & POLLIN)

    def wait(self) -> None:
        """Let others run until a message may be there; returns at once when one surely is."""
        if self._is_readable():
            return
        self._reader = gevent.getcurrent()
        try:
            self._hub.switch()
        finally:
            self._reader = None
        self._turn = time.monotonic()

    def breathe(self) -> None:
        now = time.monotonic()
        if now - self._turn > BURST:
            breathe()
            self._turn = time.monotonic()

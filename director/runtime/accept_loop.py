"""Accepts connections; at the limit of open descriptors it refuses them instead of spinning."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gevent
from gevent import socket
from gevent.lock import Semaphore

from director.runtime import descriptors
from director.runtime.greenlets import spawn
from director.runtime.logs import Seldom

log = logging.getLogger(__name__)
seldom = Seldom(log)

PAUSE = 0.5  # seconds after a connection that could not be accepted

Serve = Callable[[socket.socket, Any], None]
Refuse = Callable[[socket.socket, str], None]


def accept_all(listener: socket.socket, most: int, serve: Serve, refuse: Refuse) -> None:
    """Serve each connection in its own greenlet, until this one is killed.

    Args:
        most: connections at a time; more wait in the kernel.
        serve: called with the connection, which it closes, and the peer's address.
        refuse: called with a connection for which no descriptor is left, and the reason; it must not wait.
    """
    places = Semaphore(most)
    while True:
        places.wait()
        socket.wait_read(listener.fileno())  # at the limit, accept fails even when no connection waits
        try:
            with descriptors.with_the_last():
                connection, address = listener.accept()
        except OSError as error:
            seldom.warning("connections cannot be accepted: %s", error.strerror or error)
            gevent.sleep(PAUSE)
            continue
        if descriptors.is_of_the_last(connection.fileno()):
            seldom.warning("a caller is refused: %s", descriptors.shortage())
            _refuse(connection, refuse)
        else:
            places.acquire()
            spawn("caller", serve, connection, address, vital=False).link(lambda _: places.release())


def _refuse(connection: socket.socket, refuse: Refuse) -> None:
    with connection:
        try:
            refuse(connection, descriptors.shortage())
        except OSError as error:
            log.debug("a caller left: %s", error)

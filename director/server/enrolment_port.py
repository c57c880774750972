"""The enrolment port: tells the server's public key, and the time, to clients that have neither a token nor a pin.

One JSON line in, one JSON line out, over plain TCP. Names are asked for over the encrypted connection.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

import gevent
import ujson
from gevent import Greenlet, socket

from director.protocol import messages
from director.runtime.accept_loop import accept_all
from director.runtime.greenlets import spawn
from director.server.crowd import Crowd
from director.server.ports import bound

log = logging.getLogger(__name__)

LINE_LIMIT = 512
PATIENCE = 3.0  # seconds for one request and its answer
CONNECTIONS, OF_ADDRESS = 500, 100  # at a time; for one more, one that is still silent is ended
BACKLOG = 1024


class EnrolmentPort:
    """Answers every request with the server's public key, and its time, by which the doctor compares clocks."""

    def __init__(self, server_key: str) -> None:
        self._key = server_key
        self._listener: socket.socket | None = None
        self._accepting: Greenlet | None = None
        self._crowd: Crowd[socket.socket] = Crowd(OF_ADDRESS, CONNECTIONS)

    def listen(self, host: str, port: int) -> None:
        """Open the port. Raises StartError: it is taken."""
        self._listener = bound(host, port, "--enroll-port")
        self._listener.listen(BACKLOG)
        self._accepting = spawn(
            "enrolment port", accept_all, self._listener, 2 * CONNECTIONS, self._serve, self._refuse, vital=True
        )

    def stop(self) -> None:
        """Close the port."""
        if self._listener is not None and self._accepting is not None:
            self._accepting.kill()
            self._listener.close()

    def _serve(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        victim = self._crowd.add(connection, str(address[0]), time.monotonic())
        if victim is not None:
            with contextlib.suppress(OSError):
                victim.shutdown(socket.SHUT_RDWR)
        try:
            with gevent.Timeout(PATIENCE), connection, connection.makefile("rb") as file:
                if file.readline(LINE_LIMIT):
                    answer = {"v": messages.VERSION, "server_key": self._key, "time": round(time.time(), 3)}
                    connection.sendall(ujson.dumps(answer).encode() + b"\n")
        except (gevent.Timeout, OSError):
            log.debug("a client left the enrolment port or was too slow")
        finally:
            self._crowd.remove(connection)

    @staticmethod
    def _refuse(connection: socket.socket, why: str) -> None:
        connection.send(ujson.dumps({"v": messages.VERSION, "reason": why}).encode() + b"\n")

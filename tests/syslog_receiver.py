"""A receiver of syslog messages over TCP or TLS, which can go away and come back."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from typing import Any


class Receiver:
    """A syslog receiver: octets are counted, one connection at a time."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.lines: list[str] = []
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._connection: socket.socket | None = None
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def numbers(self) -> list[int]:
        """The number of each line that came."""
        return [row["number"] for row in self.rows]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The lines of the audit log that came."""
        return [json.loads("{" + line.partition(" - {")[2]) for line in self.lines]

    def end(self) -> None:
        """Be away: nothing listens, and the connection is reset."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._connection is not None:
            self._connection.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
                self._connection = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
                with self._connection.makefile("rb") as stream:
                    while size := self._size(stream):
                        self.lines.append(stream.read(size).decode())
            except OSError:
                if self._listener.fileno() < 0:
                    return

    @staticmethod
    def _size(stream: Any) -> int:
        digits = b""
        while (digit := stream.read(1)).isdigit():
            digits += digit
        return int(digits or 0)

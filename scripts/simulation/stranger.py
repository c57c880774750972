"""A peer of the server's port with a key of its own, which sends whatever a test wants: no client of ours."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import ujson
import zmq

from director import __version__
from director.protocol import keys, messages
from director.protocol.keys import KeyPair
from director.protocol.packing import pack, unpack
from director.protocol.tokens import Token


class Stranger:
    """One connection.

    Args:
        most: messages that are read before the test takes one; then the server's bytes stay where they are.

    Attributes:
        received: every message so far: kind, fields, payload parts.
    """

    def __init__(self, port: int, server_key: str, pair: KeyPair | None = None, most: int = 1000) -> None:
        self.pair = pair or keys.new_pair()
        self.server_key = server_key
        self.received: list[tuple[str, dict[str, Any], list[bytes]]] = []
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.RCVHWM, most)
        self.socket.set(zmq.SNDTIMEO, 1000)
        self.socket.set(zmq.PROBE_ROUTER, 1)
        self.socket.set(zmq.CURVE_SERVERKEY, server_key.encode())
        self.socket.set(zmq.CURVE_PUBLICKEY, self.pair.public.encode())
        self.socket.set(zmq.CURVE_SECRETKEY, self.pair.secret.encode())
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    def send(self, kind: str, *payload: bytes, **fields: Any) -> None:
        """Send a message; a connection that the server has cut takes none."""
        with contextlib.suppress(zmq.Again):
            self.socket.send(pack([messages.encode(kind, **fields), *payload]))

    def next(self, kind: str, timeout: float = 10.0) -> dict[str, Any] | None:
        """The fields of the next message of this kind; None when none comes in time."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            if self.socket.poll(left * 1000):
                header, *payload = unpack(self.socket.recv())
                found, fields = ujson.loads(header)
                self.received.append((found, fields, payload))
                if found == kind:
                    return dict(fields)
        return None

    def enroll(self, name: str, token: Token | None = None, **changed: Any) -> tuple[str, str]:
        """Ask for a name; `enrolled` or `refused`, and the reason."""
        proof = token.proof(self.pair.public, name) if token else ""
        fields = {"v": messages.VERSION, "name": name, "version": __version__, "token": token.id if token else ""}
        self.send("enroll", **{**fields, "proof": proof, **changed})
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if self.socket.poll(200):
                header, *payload = unpack(self.socket.recv())
                kind, found = ujson.loads(header)
                self.received.append((kind, found, payload))
                if kind == "refused":
                    return "refused", str(found["reason"])
                if kind == "identify" and found["known"]:
                    return "enrolled", ""
        return "silence", ""

    def hello(self, name: str, within: float = 5.0, **more: Any) -> dict[str, Any] | None:
        """Say hello under a name; the welcome, None when there is none within so many seconds."""
        fields = {"v": messages.VERSION, "name": name, "version": __version__, "instance": self.pair.public[:8]}
        self.send("hello", **{**fields, "journal_position": 0, "jobs": [], "process_token": self.pair.public, **more})
        return self.next("welcome", within)

    def kinds(self) -> set[str]:
        """What has been received so far."""
        return {kind for kind, _, _ in self.received}

    def close(self) -> None:
        """End the connection."""
        self._context.destroy(linger=0)


@contextlib.contextmanager
def stranger(port: int, server_key: str, pair: KeyPair | None = None, most: int = 1000) -> Iterator[Stranger]:
    """A connection that is closed at the end."""
    made = Stranger(port, server_key, pair, most)
    try:
        yield made
    finally:
        made.close()

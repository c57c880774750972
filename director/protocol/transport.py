"""The ZeroMQ sockets between server and nodes: a ROUTER and DEALERs with CURVE, and the ZAP handler.

No send blocks: its return value says whether the peer is there and reads.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any

import zmq
import zmq.utils.z85
from zmq.backend import Socket as Raw

from director.errors import StartError
from director.protocol.connections import Frame
from director.protocol.context import Context
from director.protocol.keys import KeyPair
from director.protocol.packing import pack, unpack
from director.protocol.watched_socket import WatchedSocket
from director.runtime.greenlets import spawn

NOBLOCK = int(zmq.NOBLOCK)
MORE = int(zmq.SNDMORE)
RCVMORE = int(zmq.RCVMORE)
FRAME_LIMIT = 70 * 1024 * 1024  # bytes of a message of the server
CLIENT_FRAME_LIMIT = 18 * 1024 * 1024  # of one of a client; the connection of a client that sends more is closed
HANDSHAKE = 15_000  # milliseconds in which a connection must have proved a key


def shared(parts: Sequence[bytes]) -> Frame:
    """A message that is packed once and may be sent to several peers, who share its memory."""
    return Frame(pack(parts), copy=True)


def why_not_bound(number: int | None) -> str:
    """Why an address cannot be bound, and what to do; `number` is the errno."""
    if number == errno.EADDRINUSE:
        return "Address already in use; is another server running there?"
    if number in (errno.ENODEV, errno.EADDRNOTAVAIL):
        return "no interface of this machine has that address (--bind-address)"
    return os.strerror(number or 0)


class Router(WatchedSocket):
    """The server's ROUTER: CURVE server, identity from ZAP, mandatory routing. Nodes reach it after `bind`."""

    def __init__(self, context: Context, pair: KeyPair) -> None:
        socket = context.socket(zmq.ROUTER)
        socket.set(zmq.ROUTER_MANDATORY, 1)
        socket.set(zmq.CURVE_SERVER, 1)
        socket.set(zmq.CURVE_SECRETKEY, pair.secret.encode())
        socket.set_string(zmq.ZAP_DOMAIN, "director")
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.SNDHWM, 2000)
        socket.set(zmq.RCVHWM, 1000)
        socket.set(zmq.MAXMSGSIZE, CLIENT_FRAME_LIMIT)
        socket.set(zmq.BACKLOG, 4096)
        socket.set(zmq.TCP_KEEPALIVE, 1)
        socket.set(zmq.TCP_KEEPALIVE_IDLE, 60)
        socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE)
        super().__init__(socket)
        self._context = context

    def watch_connections(self, opened: Callable[[int], None], closed: Callable[[int], None]) -> None:
        """Call `opened` with the descriptor of each connection that is accepted, `closed` when one ends. Blocks."""
        address = f"inproc://connections-{id(self)}"
        self.socket.monitor(address, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        events = self._context.socket(zmq.PAIR)
        events.set(zmq.RCVHWM, 0)  # the library's thread would wait for us at a limit
        events.connect(address)
        watched = WatchedSocket(events)
        try:
            while not self.socket.closed:
                try:
                    event, _endpoint = events.recv_multipart(NOBLOCK)
                except zmq.Again:
                    watched.wait()
                    continue
                kind, descriptor = struct.unpack("=hi", event)
                (opened if kind == zmq.EVENT_ACCEPTED else closed)(descriptor)
                watched.breathe()
        finally:
            watched.close()

    def bind(self, address: str) -> None:
        """Listen at `tcp://host:port`. Raises StartError: the address cannot be bound."""
        self.socket.set(zmq.IPV6, 1 if ":" in address.split("//")[1].rsplit(":", 1)[0] else 0)
        try:
            self.socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise StartError(f"cannot listen at {address}: {why_not_bound(error.errno)}") from error

    def receive(self) -> tuple[bytes, Frame, list[bytes]]:
        """The next message: routing id, the frame with the peer's metadata, the parts. Blocks."""
        while True:
            try:
                peer = Raw.recv(self.socket, NOBLOCK)
            except zmq.Again:
                self.wait()
                continue
            frame = Raw.recv(self.socket, NOBLOCK, False) if Raw.get(self.socket, RCVMORE) else None
            strange = frame is not None and self._drop_rest(frame)
            self.breathe()
            # the library's own routing ids begin with a zero byte; a peer can choose only others
            if frame is not None and not strange and peer[:1] == b"\0":
                return peer, frame, unpack(frame.buffer)

    def _drop_rest(self, frame: Frame) -> bool:
        """Read further frames, which no client of ours sends; whether there were any."""
        followed = bool(frame.more)
        while frame.more:
            frame = Raw.recv(self.socket, NOBLOCK, False)
        return followed

    def send(self, peer: bytes, *parts: bytes) -> bool:
        """Queue a message; False when it surely was not delivered: the peer is gone, or does not read."""
        return self._send(peer, pack(parts))

    def send_shared(self, peer: bytes, message: Frame) -> bool:
        """The same for a message of `shared`."""
        return self._send(peer, message, copy=False)

    def _send(self, peer: bytes, message: Any, copy: bool = True) -> bool:
        try:
            Raw.send(self.socket, peer, NOBLOCK | MORE)
            Raw.send(self.socket, message, NOBLOCK, copy)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            return False
        self.check_soon()
        return True


class Dealer(WatchedSocket):
    """A client's DEALER to one server; `pace` is the pause between two tries to connect, in seconds."""

    def __init__(self, context: Context, pair: KeyPair, server_key: str, address: str, pace: float = 0.2) -> None:
        socket = context.socket(zmq.DEALER)
        socket.set(zmq.CURVE_SERVERKEY, server_key.encode())
        socket.set(zmq.CURVE_PUBLICKEY, pair.public.encode())
        socket.set(zmq.CURVE_SECRETKEY, pair.secret.encode())
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.SNDHWM, 1000)
        socket.set(zmq.MAXMSGSIZE, FRAME_LIMIT)
        # Messages that wait in a connection are dropped when it breaks, and none is queued before the next one is
        # there: a restarted server would only drop them, and must get the probe first.
        socket.set(zmq.IMMEDIATE, 1)
        socket.set(zmq.PROBE_ROUTER, 1)  # an empty message, which the server answers with `identify`
        socket.set(zmq.RECONNECT_IVL, int(pace * 1000))
        socket.set(zmq.RECONNECT_IVL_MAX, 4000)
        socket.set(zmq.IPV6, 1)
        socket.set(zmq.TCP_KEEPALIVE, 1)
        socket.set(zmq.TCP_KEEPALIVE_IDLE, 60)
        socket.connect(address)
        super().__init__(socket)

    def receive(self) -> list[bytes] | None:
        """The parts of the next message, None once the socket is closed. Blocks."""
        while not self.socket.closed:
            self.wait()  # first: messages come one by one, and `Again` costs twice as much as to ask for EVENTS
            try:
                frame = Raw.recv(self.socket, NOBLOCK)
            except zmq.ZMQError as error:
                if error.errno != zmq.EAGAIN and not self.socket.closed:
                    raise
                continue
            self.breathe()
            return unpack(frame)
        return None

    def send(self, *parts: bytes) -> bool:
        """Queue a message; False when there is no connection, or its queue is full."""
        if self.socket.closed:
            return False
        try:
            Raw.send(self.socket, pack(parts), NOBLOCK)
        except zmq.Again:
            return False
        self.check_soon()
        return True


class Authenticator:
    """The ZAP handler: decides for each CURVE handshake whether a client with this key may connect.

    Args:
        admits: gets the public key; called in the event loop, so it must answer from memory.
    """

    def __init__(self, context: Context, admits: Callable[[str], bool]) -> None:
        self._admits = admits
        socket = context.socket(zmq.ROUTER)
        socket.set(zmq.LINGER, 0)
        socket.bind("inproc://zeromq.zap.01")
        self._socket = WatchedSocket(socket)
        self._greenlet = spawn("authenticator", self._serve, vital=True)

    def stop(self) -> None:
        """Close the handler; no client can connect afterwards."""
        self._greenlet.kill()
        self._socket.close()

    def _serve(self) -> None:
        socket = self._socket.socket
        while True:
            try:
                frames = socket.recv_multipart(NOBLOCK)
            except zmq.Again:
                self._socket.wait()
                continue
            socket.send_multipart(self._answer(frames), NOBLOCK)
            self._socket.breathe()

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        peer, _empty, version, sequence, _domain, _address, _identity, mechanism, *credentials = frames
        status, text, user = b"400", b"not enrolled", b""
        if mechanism == b"CURVE" and credentials:
            key = zmq.utils.z85.encode(credentials[0]).decode()
            if self._admits(key):
                status, text, user = b"200", b"OK", key.encode()
        return [peer, b"", version, sequence, status, text, user, b""]

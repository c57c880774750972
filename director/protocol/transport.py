"""ZeroMQ sockets that gevent can wait on: a ROUTER and DEALERs with CURVE, and the ZAP handler.

These are plain pyzmq sockets with a watcher on the socket's descriptor; `zmq.green` takes three times as long for a
message. The descriptor is edge-triggered. So one greenlet reads a socket, and reads all messages before it waits;
and after sends the socket's events are read again, because a send may consume the edge.
No send blocks: its return value says whether the peer is there and reads.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import socket
import struct
import time
from _thread import LockType
from collections.abc import Callable, Sequence
from typing import Any

import gevent
import zmq
import zmq.utils.z85
from gevent import get_hub
from gevent.monkey import get_original
from zmq.backend import Socket as Raw

from director.errors import StartError
from director.protocol.keys import KeyPair
from director.runtime.greenlets import breathe, spawn

Context = zmq.Context[zmq.Socket[bytes]]
Frame = zmq.Frame

NOBLOCK = int(zmq.NOBLOCK)
MORE = int(zmq.SNDMORE)
RCVMORE = int(zmq.RCVMORE)
EVENTS = int(zmq.EVENTS)
POLLIN = int(zmq.POLLIN)
BURST = 0.005  # seconds that a reader runs before other greenlets get a turn
QUIET = 60.0  # seconds after which the events are read again, in case an edge was missed
FRAME_LIMIT = 70 * 1024 * 1024  # bytes of a message of the server
CLIENT_FRAME_LIMIT = 18 * 1024 * 1024  # of one of a client; the connection of a client that sends more is closed
HANDSHAKE = 15_000  # milliseconds in which a connection must have proved a key
PARTS_LIMIT = 2048  # of one message

ACKNOWLEDGED, RECEIVED = 120, 128  # offsets in the kernel's struct tcp_info
THREADS = "/proc/self/task"
LEAST_LIBRARY = (4, 3, 5)
CONTEXT_THREADS = 2  # one for input and output, one that closes sockets
allocate_lock = get_original("_thread", "allocate_lock")
start_new_thread = get_original("_thread", "start_new_thread")


def new_context(sockets: int = 1023) -> Context:
    """A new context for up to `sockets` sockets.

    Raises:
        StartError: its threads cannot be started, or the library is too old.
    """
    require_library(zmq.zmq_version_info())
    require_threads(CONTEXT_THREADS)
    seed()
    context: Context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, sockets)
    context.set(zmq.BLOCKY, 0)
    context.socket(zmq.PAIR).close()  # the library starts its threads with the first socket
    return context


def seed() -> None:
    """Make the routing ids that a ROUTER gives unpredictable: they count up from the C library's `rand()`.

    Nothing else seeds it. A client may choose a routing id, and libzmq aborts when a client has the next one already.
    """
    ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "big"))


def require_library(version: tuple[int, int, int]) -> None:
    """Check the version of libzmq: an older one has known holes. Raises StartError: it is too old."""
    if version < LEAST_LIBRARY:
        has, least = (".".join(map(str, numbers)) for numbers in (version, LEAST_LIBRARY))
        raise StartError(
            f"libzmq {has} is too old, expected {least} or newer: pip install --force-reinstall --only-binary pyzmq "
            "'pyzmq>=26' brings one, or update the system's libzmq and build pyzmq again"
        )


def require_threads(count: int) -> None:
    """Check that so many threads can be started; else the library would abort. Raises StartError: they cannot."""
    before, gate = len(os.listdir(THREADS)), allocate_lock()
    try:
        with gate:  # the threads wait for it, so that all exist at the same time
            for _ in range(count):
                start_new_thread(_pass, (gate,))
    except RuntimeError as error:
        raise StartError(f"{error}: there are as many processes as there may be (ulimit -u, pids.max)") from None
    while len(os.listdir(THREADS)) > before:  # until they have ended
        gevent.sleep(0.001)


def _pass(gate: LockType) -> None:
    with gate:
        pass


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:  # else the unit need not permit the call
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


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

    def _wait(self) -> None:
        """Let others run until a message may be there; returns at once when one surely is."""
        if self._is_readable():
            return
        self._reader = gevent.getcurrent()
        try:
            self._hub.switch()
        finally:
            self._reader = None
        self._turn = time.monotonic()

    def _breathe(self) -> None:
        now = time.monotonic()
        if now - self._turn > BURST:
            breathe()
            self._turn = time.monotonic()


def pack(parts: Sequence[bytes]) -> bytes:
    """All parts of a message in one frame; a single part is the frame itself and must not begin with a zero byte.

    With several frames the library may drop the connection between two of them, and aborts the process when the
    second one is read (libzmq 4.3, `fq.cpp`, with ZMQ_IMMEDIATE). Also, it encrypts each frame by itself.
    """
    if len(parts) == 1:
        return parts[0]
    return b"".join((struct.pack(f">xI{len(parts)}I", len(parts), *map(len, parts)), *parts))


def unpack(frame: bytes | memoryview) -> list[bytes]:
    """The parts of a message; a frame that is not well packed is one part, which `messages.decode` refuses."""
    if not frame or frame[0] or len(frame) < 5:
        return [bytes(frame)]
    (count,) = struct.unpack_from(">I", frame, 1)
    at = 5 + 4 * count
    if not 2 <= count <= PARTS_LIMIT or len(frame) < at:
        return [bytes(frame)]
    sizes = struct.unpack_from(f">{count}I", frame, 5)
    if at + sum(sizes) != len(frame):
        return [bytes(frame)]
    parts = []
    for size in sizes:
        parts.append(bytes(frame[at : at + size]))
        at += size
    return parts


def connection_of(frame: Frame) -> tuple[int, int]:
    """Descriptor and inode of the connection that a message came over; (-1, 0) when it is closed already."""
    try:
        descriptor = int(frame.get(zmq.SRCFD))
        return descriptor, os.fstat(descriptor).st_ino
    except (OSError, TypeError, ValueError):
        return -1, 0


def cut(connection: tuple[int, int]) -> None:
    """End a connection given by `connection_of`, unless its descriptor is another file's by now.

    The library closes no single peer of a ROUTER, but it notices the end of a connection.
    """
    descriptor, inode = connection
    with contextlib.suppress(OSError):
        if descriptor >= 0 and os.fstat(descriptor).st_ino == inode:
            with socket.socket(fileno=os.dup(descriptor)) as peer:
                peer.shutdown(socket.SHUT_RDWR)


def bytes_of(connection: tuple[int, int], direction: int) -> int:
    """Bytes that the peer of a connection has acknowledged (`ACKNOWLEDGED`) or sent (`RECEIVED`), as the kernel counts.

    Returns:
        0 when the connection is closed, or its descriptor is another file's by now.
    """
    descriptor, inode = connection
    with contextlib.suppress(OSError, struct.error):
        if descriptor >= 0 and os.fstat(descriptor).st_ino == inode:
            with socket.socket(fileno=os.dup(descriptor)) as peer:
                info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
                return int(struct.unpack_from("=Q", info, direction)[0])
    return 0


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
                    watched._wait()
                    continue
                kind, descriptor = struct.unpack("=hi", event)
                (opened if kind == zmq.EVENT_ACCEPTED else closed)(descriptor)
                watched._breathe()
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
                self._wait()
                continue
            frame = Raw.recv(self.socket, NOBLOCK, False) if Raw.get(self.socket, RCVMORE) else None
            strange = frame is not None and self._drop_rest(frame)
            self._breathe()
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
        try:
            Raw.send(self.socket, peer, NOBLOCK | MORE)
            Raw.send(self.socket, pack(parts), NOBLOCK)
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
            self._wait()  # first: messages come one by one, and `Again` costs twice as much as to ask for EVENTS
            try:
                frame = Raw.recv(self.socket, NOBLOCK)
            except zmq.ZMQError as error:
                if error.errno != zmq.EAGAIN and not self.socket.closed:
                    raise
                continue
            self._breathe()
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
                self._socket._wait()
                continue
            socket.send_multipart(self._answer(frames), NOBLOCK)
            self._socket._breathe()

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        peer, _empty, version, sequence, _domain, _address, _identity, mechanism, *credentials = frames
        status, text, user = b"400", b"not enrolled", b""
        if mechanism == b"CURVE" and credentials:
            key = zmq.utils.z85.encode(credentials[0]).decode()
            if self._admits(key):
                status, text, user = b"200", b"OK", key.encode()
        return [peer, b"", version, sequence, status, text, user, b""]

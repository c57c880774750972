"""Frames on UNIX sockets: a JSON header, a body of raw bytes, and file descriptors.

A frame is 4 bytes of header length, 4 bytes of body length (both big-endian), the header (a JSON object in
UTF-8) and the body. A header with `"fds": n` comes with n descriptors. The operator's socket and the server's
workers use these frames.
"""

from __future__ import annotations

import _socket
import os
import sys
from collections.abc import Mapping, Sequence

from director import Any
from director.errors import ProtocolError

Frame = tuple[dict[str, Any], bytes, list[int]]

HEADER_LIMIT = 16 * 1024 * 1024
WORKER_HEADER_LIMIT = 64 * 1024 * 1024  # between the server and its workers
BODY_LIMIT = 64 * 1024 * 1024
FDS_LIMIT = 200


class Cut(bytes):
    """A part of a text that the next frame continues; its header has `"cut": true`."""


PREFIX = 8
READ = 64 * 1024
# descriptors that one recvmsg may return: those of several frames, when the sender's buffer was full
_ANCILLARY = _socket.CMSG_SPACE(4 * 253)


def encode(
    header: Mapping[str, Any] | str,
    body: bytes | bytearray | memoryview = b"",
    fds: int = 0,
    limit: int = HEADER_LIMIT,
) -> bytes:
    """Prefix and header of a frame.

    Args:
        header: an object, or its JSON.
        fds: descriptors that go with the frame.

    Raises:
        ProtocolError: header or body are larger than allowed, or more than 200 descriptors.
    """
    if isinstance(header, str):
        text = header.encode()
    else:
        if fds or "fds" in header:  # a header that is passed on may contain the number it came with
            header = {**header, "fds": fds}
        text = _json().dumps(header).encode()
    if len(text) > limit:
        raise ProtocolError(f"a header of {len(text)} bytes; at most {limit}")
    if len(body) > BODY_LIMIT:
        raise ProtocolError(f"a body of {len(body)} bytes; at most {BODY_LIMIT}")
    if fds > FDS_LIMIT:
        raise ProtocolError(f"{fds} descriptors in one frame; at most {FDS_LIMIT}")
    return len(text).to_bytes(4, "big") + len(body).to_bytes(4, "big") + text


def _json() -> Any:
    """ujson where it is loaded already, else json, which loads faster."""
    module = sys.modules.get("ujson")
    if module is None:
        import json as module
    return module


class Channel:
    """Frames over a connected stream socket (`_socket`, `socket` or gevent's; blocking).

    One sender and one receiver at a time. After an error the channel and its descriptors are closed.

    Args:
        sock: the channel closes it.
        take_fds: whether the peer may send descriptors; else one that does so is an error.
        limit: of headers, in bytes.
        body_limit: of bodies that are received, in bytes.
    """

    def __init__(
        self, sock: Any, take_fds: bool = True, limit: int = HEADER_LIMIT, body_limit: int = BODY_LIMIT
    ) -> None:
        self.sock = sock
        self._limit, self._body_limit = limit, body_limit
        self._take = _ANCILLARY if take_fds else 0
        self._buffer = bytearray()
        self._fds: list[int] = []

    @property
    def pending(self) -> bool:
        """Whether bytes of the next frame were read already."""
        return bool(self._buffer)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return int(self.sock.fileno())

    def send(self, header: Mapping[str, Any], body: bytes | memoryview = b"", fds: Sequence[int] = ()) -> None:
        """Send one frame; the caller's descriptors stay open.

        Raises:
            ProtocolError: it is too large; nothing was sent. OSError: the peer is gone.
        """
        self.send_encoded(encode(header, body, len(fds), self._limit), body, fds)

    def send_encoded(self, head: bytes, body: bytes | memoryview = b"", fds: Sequence[int] = ()) -> None:
        """Send a frame whose `head` is the result of `encode`. Raises OSError: the peer is gone."""
        if not fds and len(head) + len(body) <= READ:
            self.sock.sendall(head + body)
            return
        ancillary = []
        if fds:
            numbers = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
            ancillary.append((_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers))
        sent = self.sock.sendmsg([head, body], ancillary)
        if sent < len(head):
            self.sock.sendall(head[sent:])
            sent = len(head)
        if sent < len(head) + len(body):
            self.sock.sendall(memoryview(body)[sent - len(head) :])

    def receive(self) -> Frame | None:
        """The next frame: header, body, descriptors, which the caller closes; None when the peer has ended.

        Raises:
            ProtocolError: a malformed, incomplete or too large frame. OSError: the connection broke.
        """
        try:
            return self._receive()
        except ProtocolError:
            self.close()
            raise

    def _receive(self) -> Frame | None:
        while len(self._buffer) < PREFIX:
            if not self._read():
                if self._buffer or self._fds:
                    raise ProtocolError("the peer ended in the middle of a frame")
                return None
        head = int.from_bytes(self._buffer[:4], "big")
        body = int.from_bytes(self._buffer[4:PREFIX], "big")
        if head > self._limit or body > self._body_limit:
            raise ProtocolError(f"a frame of {head} and {body} bytes; at most {self._limit} and {self._body_limit}")
        frame = self._take_bytes(PREFIX + head + body)
        header = _header(frame[PREFIX : PREFIX + head])
        return header, bytes(frame[PREFIX + head :]), self._take_fds(header)

    def _take_bytes(self, size: int) -> memoryview:
        """The first `size` bytes; bytes after them stay for the next frame."""
        have = self._buffer
        if len(have) >= size:
            self._buffer = have[size:]
            return memoryview(have)[:size]
        at = len(have)
        self._buffer = bytearray()
        while at < size:
            if at == len(have):  # what is announced is no reason to give memory, what has come is
                more = min(size - at, max(READ, at))
                self._hold(more, size - at)
                have += bytes(more)
            with memoryview(have)[at:] as room:
                count, ancillary, flags, _ = self.sock.recvmsg_into([room], self._take, _socket.MSG_CMSG_CLOEXEC)
            self._keep(ancillary, flags)
            if not count:
                raise ProtocolError("the peer ended in the middle of a frame")
            at += count
        return memoryview(have)

    def _hold(self, more: int, left: int) -> None:
        """Called before a frame that is being received takes more memory.

        Args:
            more: bytes.
            left: bytes of the frame that have not come.

        Raises:
            ProtocolError: it may not.
        """

    def _read(self) -> int:
        data, ancillary, flags, _ = self.sock.recvmsg(READ, self._take, _socket.MSG_CMSG_CLOEXEC)
        self._buffer += data
        self._keep(ancillary, flags)
        return len(data)

    def _keep(self, ancillary: Sequence[tuple[int, int, bytes]], flags: int) -> None:
        for level, kind, data in ancillary:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                whole = len(data) - len(data) % 4
                self._fds += [int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, whole, 4)]
        if flags & _socket.MSG_CTRUNC:
            raise ProtocolError("descriptors that are not allowed")
        if len(self._fds) > 2 * FDS_LIMIT:
            raise ProtocolError("more descriptors than frames announce")

    def _take_fds(self, header: Mapping[str, Any]) -> list[int]:
        """The descriptors of a frame, which arrive with its first byte, or before it with those of earlier frames."""
        count = header.get("fds", 0)
        if not isinstance(count, int) or not 0 <= count <= len(self._fds):
            raise ProtocolError("a frame without the descriptors it announces")
        taken, self._fds = self._fds[:count], self._fds[count:]
        if self._fds and not self._buffer:
            close_all([*taken, *self._fds])
            self._fds = []
            raise ProtocolError("descriptors that no frame announces")
        return taken

    def shutdown(self) -> None:
        """Send nothing more; the peer reads the end."""
        try:
            self.sock.shutdown(_socket.SHUT_WR)
        except OSError:
            return  # the peer is gone already

    def close(self) -> None:
        """Close the socket and the descriptors that no `receive` returned."""
        close_all(self._fds)
        self._fds = []
        self._buffer = bytearray()
        self.sock.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _header(data: memoryview) -> dict[str, Any]:
    try:
        header = _json().loads(str(data, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a header that is not JSON") from error
    if not isinstance(header, dict):
        raise ProtocolError("a header that is not a JSON object")
    return header


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors; one that is closed already is no error."""
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            continue

"""One TCP connection of a ROUTER, by its descriptor: which one it is, what it carried, and its end."""

from __future__ import annotations

import contextlib
import os
import socket
import struct

import zmq

Frame = zmq.Frame

ACKNOWLEDGED, RECEIVED = 120, 128  # offsets in the kernel's struct tcp_info


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

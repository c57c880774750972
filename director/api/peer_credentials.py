"""The caller of a command, as the kernel reports the process at the other end of a UNIX socket."""

from __future__ import annotations

import pwd
import socket
import struct
from dataclasses import dataclass

from director.server.planner_pool import NO_SOURCES, Sources


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a command.

    Attributes:
        user: name of the user, the uid as text when it has none.
        uid, gid, pid: of the calling process.
        sources: reads the files that the caller's submissions name.
    """

    user: str
    uid: int
    gid: int
    pid: int
    sources: Sources = NO_SOURCES


def caller_of(connection: socket.socket, sources: Sources) -> Caller:
    """The caller at the other end of a UNIX socket. Raises OSError: the connection is broken."""
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Caller(name, uid, gid, pid, sources)

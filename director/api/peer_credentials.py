"""Who calls at the operator's socket, as the kernel tells it, and whose rights a job has on this machine."""

from __future__ import annotations

import os
import pwd
import socket
import struct
from collections.abc import Mapping
from typing import Any

from director.errors import NotPermittedError


class Caller(str):
    """A user's name, with the uid and gid of the calling process."""

    __slots__ = ("gid", "uid")
    uid: int
    gid: int


def caller_of(connection: socket.socket) -> Caller:
    """Who is at the other end of a UNIX socket."""
    _, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    caller = Caller(name)
    caller.uid, caller.gid = uid, gid
    return caller


def with_rights(options: Mapping[str, Any], meta: Mapping[str, Any], caller: str) -> dict[str, Any]:
    """A job's options with `uid` and `gid`, whose files FETCH writes: those of the caller, whatever was there before.

    Raises:
        NotPermittedError: the job fetches files, and this server cannot write as the caller.
    """
    mine = os.geteuid()
    uid, gid = (caller.uid, caller.gid) if isinstance(caller, Caller) else (mine, os.getegid())
    fetches = any(spec["kind"] == "fetch" for spec in meta.get("exchange", {}).values())
    if fetches and mine not in (0, uid):
        raise NotPermittedError(
            f"FETCH writes files as {caller}, which a server that runs as uid {mine} cannot; "
            "run the server as root, or submit as its user"
        )
    return {**options, "uid": uid, "gid": gid}

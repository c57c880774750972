"""Refuses to replace devices, FIFOs and sockets."""

from __future__ import annotations

import os
import stat

from director.errors import VerbError

_SPECIAL = {
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}


def refuse_special(path: str, status: os.stat_result | None) -> None:
    """Raise VerbError when `status`, that of `path` itself, is that of a device, a FIFO or a socket.

    These are never replaced, because no copy of a file brings them back.
    """
    kind = _SPECIAL.get(stat.S_IFMT(status.st_mode)) if status is not None else None
    if kind is not None:
        raise VerbError(f"{path} is {kind}, not a plain file")

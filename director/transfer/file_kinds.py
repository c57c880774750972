"""What stands at a path, in words, for those who would replace it by a file or a link."""

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
    """Raise VerbError when `status`, which is that of `path` itself, is of a device, a FIFO or a socket.

    Such a thing is never replaced: nobody can make it again from a file.
    """
    kind = _SPECIAL.get(stat.S_IFMT(status.st_mode)) if status is not None else None
    if kind is not None:
        raise VerbError(f"{path} is {kind}, not a plain file")

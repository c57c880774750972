"""Locks a state folder for one process; the lock file names its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator

from director.errors import StartError


@contextlib.contextmanager
def held(folder: str, what: str) -> Iterator[None]:
    """A context that holds the lock of a folder.

    Args:
        what: `server` or `client`, for the error.

    Raises:
        StartError: another process holds it, which the message names, or the folder cannot be used.
    """
    path = os.path.join(folder, "lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(
            f"the state folder {folder} cannot be used: {error.strerror}; give another --state-dir"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 300).decode(errors="replace").strip() or "another process"
            raise StartError(
                f"the state folder {folder} is in use by {holder}; stop that {what} or give another --state-dir"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)

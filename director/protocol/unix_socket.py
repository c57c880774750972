"""The file of the operator's socket: its mode, group and owner, and how one left behind is removed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence

from director import Any
from director.errors import NoServerError, NotPermittedError, StartError
from director.runtime.paths import FOLDER_MODE, dial, make, short_path

SOCKET_MODE = 0o660
BACKLOG = 512


def connect(paths: Sequence[str], pause: Callable[[], None] | None = None) -> Any:
    """A connected `_socket.socket` to the first server that answers; `pause` as of `dial`.

    Raises:
        NoServerError: nobody answers at any of them.
        NotPermittedError: nobody answers, and one of them may not be used by this user.
    """
    denied = ""
    for path in paths:
        try:
            return dial(path, pause)
        except PermissionError:
            denied = denied or path
        except OSError:
            continue
    if denied:
        raise NotPermittedError(f"you may not use {denied}; ask for membership in its group, or set --socket-path")
    raise NoServerError(f"no server answers at {', '.join(paths)}; is `director --server` running?")


class Listener:
    """A listening operator's socket.

    Attributes:
        sock: a `socket.socket` (gevent's where that is patched).
        path: where it is.
    """

    def __init__(self, path: str, group: str | None) -> None:
        self.path = path
        make(os.path.dirname(path), FOLDER_MODE)
        self._lock = _lock(path)
        try:
            _clear(path)
            self.sock = _bind(path, group)
        except BaseException:
            os.close(self._lock)
            raise
        self._inode = os.lstat(path).st_ino

    def close(self) -> None:
        """Stop listening, and remove the file unless another server has replaced it."""
        self.sock.close()
        try:
            if os.lstat(self.path).st_ino == self._inode:
                os.unlink(self.path)
        except OSError:
            pass  # removed already
        os.close(self._lock)


def listen(paths: Sequence[str], group: str | None = None) -> Listener:
    """Listen at the first of `paths` that can be used.

    Raises:
        StartError: none can be used; the message says why for each.
    """
    reasons = []
    for path in paths:
        try:
            return Listener(path, group)
        except StartError as error:
            reasons.append(f"{path}: {error}")
        except OSError as error:
            reasons.append(f"{path}: {error.strerror or error}")
    what = "; ".join(reasons) or "no folder for it can be written"
    raise StartError(f"no operator's socket can be made: {what}; name another with --socket-path")


def _lock(path: str) -> int:
    """The descriptor of the lock file beside the socket, which the owner keeps locked."""
    import fcntl  # here, as callers only connect

    fd = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise StartError("another server has it") from error
    return fd


def _clear(path: str) -> None:
    """Remove a socket at which no server listens. Raises StartError: another server or file is there."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartError("a file that is no socket is in the way")
    try:
        dial(path).close()
    except ConnectionRefusedError:
        os.unlink(path)
    except FileNotFoundError:
        return
    else:
        raise StartError("another server answers there")


def _bind(path: str, group: str | None) -> Any:
    import socket

    gid = _gid(group) if group else -1
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~SOCKET_MODE)
    try:
        with short_path(path) as short:
            sock.bind(short)
        if group:
            os.chown(path, -1, gid)
        os.chmod(path, SOCKET_MODE)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _gid(group: str) -> int:
    import grp

    try:
        return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise StartError(f"--socket-group: there is no group {group!r}") from error

"""The paths of state folders and sockets, for root and for ordinary users."""

from __future__ import annotations

import _socket
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from director import Any
from director.errors import StartError

SYSTEM_STATE = "/var/lib/director"
USER_STATE = "~/.local/state/director"
SYSTEM_SOCKET = "/run/director/director.sock"
SOCKET_NAME = "director.sock"
FOLDER_MODE = 0o755  # a group may reach the socket in it
PRIVATE_MODE = 0o700  # keys, ledger, files
UNIX_PATH_LIMIT = 107


def state_dir(setting: str | None, role: str) -> str:
    """The absolute state folder: that of the setting, else that of the system, else that of the user.

    That of the system is taken when its sub-folder for `role` (`server` or `client`) can be written. The folder itself
    belongs to root, so that neither role can change the files of the other.
    """
    if setting:
        return os.path.abspath(setting)
    return SYSTEM_STATE if usable(os.path.join(SYSTEM_STATE, role)) else os.path.expanduser(USER_STATE)


def state_folder(setting: str | None, role: str) -> str:
    """The private folder of `server` or `client` in the state folder; it is made when it is missing.

    Raises:
        StartError: it cannot be made or written.
    """
    folder = os.path.join(state_dir(setting, role), role)
    try:
        make(os.path.dirname(folder), FOLDER_MODE)
        make(folder, PRIVATE_MODE)
        if os.stat(folder).st_mode & 0o077:
            os.chmod(folder, PRIVATE_MODE)
    except OSError as error:
        raise StartError(
            f"the state folder {folder} cannot be used: {error.strerror}; name another with --state-dir"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartError(f"the state folder {folder} cannot be written; name another with --state-dir")
    return folder


def make(folder: str, mode: int) -> None:
    """Make a folder and its parents, independent of the umask; an existing one stays as it is. Raises OSError."""
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    if parent and parent != folder:
        make(parent, FOLDER_MODE)
    try:
        os.mkdir(folder, mode)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise
    else:
        os.chmod(folder, mode)


def usable(folder: str) -> bool:
    """Whether this process may write in the folder, or make it."""
    while not os.path.lexists(folder):
        parent = os.path.dirname(folder)
        if parent == folder:
            return False
        folder = parent
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def sockets_to_offer(socket_path: str | None, state: str) -> list[str]:
    """The paths at which a server may listen, the preferred first; `state` is its state folder."""
    if socket_path:
        return [os.path.abspath(socket_path)]
    paths = [SYSTEM_SOCKET, *_runtime_socket(), os.path.join(state, SOCKET_NAME)]
    return [path for path in paths if usable(os.path.dirname(path))]


def endpoint(address: str, port: int) -> str:
    """The ZeroMQ endpoint of a bind address: `*` or `all` is every IPv4 address, `::` every address."""
    host = "*" if address in ("*", "all") else address
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def bind_host(address: str) -> str:
    """The bind address for a plain socket."""
    return "0.0.0.0" if address in ("*", "all") else address


def sockets_to_try(socket_path: str | None, setting: str | None) -> list[str]:
    """The paths at which a call looks for a server, in this order; `setting` is `--state-dir`."""
    if socket_path:
        return [os.path.abspath(socket_path)]
    states = [setting] if setting else [SYSTEM_STATE, USER_STATE]
    in_state = [os.path.join(os.path.abspath(os.path.expanduser(state)), SOCKET_NAME) for state in states]
    return [SYSTEM_SOCKET, *_runtime_socket(), *in_state]


def _runtime_socket() -> list[str]:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return [os.path.join(runtime, "director", SOCKET_NAME)] if runtime.startswith("/") else []


@contextmanager
def short_path(path: str) -> Iterator[str]:
    """A context with a path for a UNIX socket that is within the kernel's 107 bytes.

    Raises:
        OSError: the folder cannot be opened, or the name alone is too long.
    """
    if len(os.fsencode(path)) <= UNIX_PATH_LIMIT:
        yield path
        return
    folder = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        short = f"/proc/self/fd/{folder}/{os.path.basename(path)}"
        if len(os.fsencode(short)) > UNIX_PATH_LIMIT:
            raise OSError(36, "the socket's name is too long", path)
        yield short
    finally:
        os.close(folder)


def dial(path: str, pause: Callable[[], None] | None = None) -> Any:
    """A connected `_socket.socket`, or gevent's. Raises OSError: no process listens, or it is not permitted.

    Args:
        pause: called while the listener's queue is full; it may raise to give up. None waits without limit.
    """
    sock = _new_socket()
    try:
        sock.setblocking(pause is None)
        with short_path(path) as short:
            while True:
                try:
                    sock.connect(short)
                    break
                except BlockingIOError:
                    if pause is None:
                        raise
                    pause()
    except BaseException:
        sock.close()
        raise
    return sock


def _new_socket() -> Any:
    """A plain socket; gevent's where the program has patched its sockets, as its loop must go on meanwhile."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("socket"):
        return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    import socket

    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

"""Where Director keeps things and which sockets it may have, for root and for ordinary users."""

from __future__ import annotations

import _socket
import os

from director.errors import StartError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SYSTEM_STATE = "/var/lib/director"
USER_STATE = "~/.local/state/director"
SYSTEM_SOCKET = "/run/director/director.sock"
SOCKET_NAME = "director.sock"
FOLDER_MODE = 0o755  # so that a group may reach the socket in it
PRIVATE_MODE = 0o700  # keys, ledger, files
UNIX_PATH_LIMIT = 107


def state_dir(setting: str | None, role: str) -> str:
    """The absolute state folder: the one asked for, else the system's, else the user's.

    The system's is taken where its sub-folder for `role`, `server` or `client`, can be written: the folder itself
    belongs to root, so that neither role has power over the files of the other.
    """
    if setting:
        return os.path.abspath(setting)
    return SYSTEM_STATE if usable(os.path.join(SYSTEM_STATE, role)) else os.path.expanduser(USER_STATE)


def state_folder(setting: str | None, role: str) -> str:
    """The private folder of `server` or `client` in the state folder, made when it is missing.

    Raises:
        StartError: it cannot be made or written; the message names the way out.
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
    """Make a folder and those above it whatever the umask is; one that exists stays as it is."""
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
    """Whether this process may write in `folder`, or make it."""
    while not os.path.lexists(folder):
        parent = os.path.dirname(folder)
        if parent == folder:
            return False
        folder = parent
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def sockets_to_offer(socket_path: str | None, state: str) -> list[str]:
    """The paths at which a server may listen, best first; `state` is its state folder."""
    if socket_path:
        return [os.path.abspath(socket_path)]
    paths = [SYSTEM_SOCKET, *_runtime_socket(), os.path.join(state, SOCKET_NAME)]
    return [path for path in paths if usable(os.path.dirname(path))]


def server_socket(socket_path: str | None, folder: str) -> str:
    """The path at which a server whose private folder is `folder` shall listen; the folder above it exists.

    Raises:
        StartError: no folder for it can be made.
    """
    paths = sockets_to_offer(socket_path, os.path.dirname(folder))
    free = [path for path in paths if not answers(path)] or paths
    if not free:
        raise StartError("no folder for the operator's socket can be written; name one with --socket-path")
    try:
        make(os.path.dirname(free[0]), FOLDER_MODE)
    except OSError as error:
        raise StartError(f"the folder of {free[0]} cannot be made: {error.strerror} (--socket-path)") from error
    return free[0]


def endpoint(address: str, port: int) -> str:
    """The ZeroMQ endpoint of a bind address: `*` or `all` is every IPv4 address, `::` every address."""
    host = "*" if address in ("*", "all") else address
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def bind_host(address: str) -> str:
    """The same for a plain socket."""
    return "0.0.0.0" if address in ("*", "all") else address


def sockets_to_try(socket_path: str | None, setting: str | None) -> list[str]:
    """The paths at which a server may answer a user's call, best first; `setting` is `--state-dir`."""
    if socket_path:
        return [os.path.abspath(socket_path)]
    states = [setting] if setting else [SYSTEM_STATE, USER_STATE]
    in_state = [os.path.join(os.path.abspath(os.path.expanduser(state)), SOCKET_NAME) for state in states]
    return [SYSTEM_SOCKET, *_runtime_socket(), *in_state]


def _runtime_socket() -> list[str]:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return [os.path.join(runtime, "director", SOCKET_NAME)] if runtime.startswith("/") else []


class ShortPath:
    """A context in which a UNIX socket's path fits the kernel's 107 bytes, however deep its folder is.

    `with ShortPath(path) as short: sock.connect(short)`. Raises OSError when the folder cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= UNIX_PATH_LIMIT:
            return self._path
        self._fd = os.open(os.path.dirname(self._path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        short = f"/proc/self/fd/{self._fd}/{os.path.basename(self._path)}"
        if len(os.fsencode(short)) > UNIX_PATH_LIMIT:
            self.__exit__()
            raise OSError(36, "the socket's name is too long", self._path)
        return short

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def dial(path: str, pause: Callable[[], None] | None = None) -> Any:
    """A connected `_socket.socket`; raises OSError when nobody listens or it is not allowed.

    Args:
        pause: called while more callers wait than the listener's queue holds; it may raise to give up. Without it the
            call waits as long as that takes.
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.setblocking(pause is None)
        with ShortPath(path) as short:
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


def answers(path: str) -> bool:
    """Whether somebody listens at this socket."""
    try:
        dial(path).close()
    except OSError:
        return False
    return True

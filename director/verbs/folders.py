"""Folders on the node: where relative paths start, and how missing ones are made."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping
from typing import Any

from director.errors import VerbError
from director.verbs.base import Node


def here(node: Node) -> str:
    """The folder that relative paths start from: the WORKDIR, else the home of the job's user."""
    return node.scope.workdir or home(node)


def home(node: Node) -> str:
    """The home folder of the job's user on this node, `/` where it has none: where a RUN without a WORKDIR is."""
    if not node.scope.user:
        return own_home()
    return _existing(_passwd_home(node.identity(node.scope.user)[0]))


def own_home() -> str:
    """The home folder of the client's own user: `HOME` as the client was given it, else what the system says."""
    return _existing(os.environ.get("HOME") or _passwd_home(os.geteuid()))


def _passwd_home(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return "/"


def _existing(folder: str) -> str:
    return folder if os.path.isabs(folder) and os.path.isdir(folder) else "/"


def absolute(path: str, node: Node) -> str:
    """`path` without `.` and doubled slashes, from the working folder when it is relative; a last `/` is kept."""
    if "\0" in path:
        raise VerbError("a path cannot hold a zero byte")
    whole = os.path.normpath(os.path.join(here(node), path))
    whole = "/" + whole.lstrip("/")  # POSIX keeps two leading slashes apart
    return whole + "/" if is_folder_text(path) and whole != "/" else whole


def is_folder_text(path: str) -> bool:
    """Whether a path as written can only mean a folder."""
    return path in (".", "..") or path.endswith(("/", "/.", "/.."))


def make_folders(path: str, mode: int = 0o755, done: Callable[[str], object] | None = None) -> bool:
    """Make a folder and the missing ones above it; the mode does not depend on the umask.

    Args:
        done: called with each folder that was made.
    Returns whether there was anything to make. Raises VerbError with the path that cannot be made.
    """
    missing = []
    at = path.rstrip("/") or "/"
    while not os.path.isdir(at):
        if os.path.lexists(at):
            raise VerbError(f"{at}: not a folder")
        missing.append(at)
        at = os.path.dirname(at)
    for folder in reversed(missing):
        try:
            os.mkdir(folder)
            os.chmod(folder, mode)
        except FileExistsError:
            continue
        except OSError as error:
            raise broken(folder, error) from error
        if done is not None:
            done(folder)
    return bool(missing)


def broken(path: str, error: OSError) -> VerbError:
    """The error of the system as a reason that names the path."""
    return VerbError(f"{path}: {(error.strerror or str(error))}")


def make_cache_folder(folder: Mapping[str, Any], node: Node) -> None:
    """The folder of a `--mount=type=cache`; what exists is left as it is."""
    path = absolute(node.word(folder["path"]), node).rstrip("/") or "/"
    if make_folders(path):
        try:
            os.chmod(path, folder["mode"])
            if "owner" in folder:
                os.chown(path, *node.identity(folder["owner"]))
        except OSError as error:
            raise broken(path, error) from error

"""Folders on the node: finds the folder of relative paths and makes missing folders."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping
from typing import Any

from director.errors import VerbError
from director.verbs.base import Node


def here(node: Node) -> str:
    """The folder of relative paths: the WORKDIR, else the home of the job's user."""
    return node.scope.workdir or home(node)


def home(node: Node) -> str:
    """The home folder of the job's user on this node, `/` when there is none; a RUN without a WORKDIR starts in it."""
    if not node.scope.user:
        return own_home()
    return _existing(_passwd_home(node.identity(node.scope.user)[0]))


def own_home() -> str:
    """The home folder of the client's own user: `HOME` of the client's environment, else that of the user database."""
    return _existing(os.environ.get("HOME") or _passwd_home(os.geteuid()))


def _passwd_home(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return "/"


def _existing(folder: str) -> str:
    return folder if os.path.isabs(folder) and os.path.isdir(folder) else "/"


def absolute(path: str, node: Node) -> str:
    """`path` as a normal absolute path, below `here` when it is relative; a last `/` is kept. Raises VerbError."""
    if "\0" in path:
        raise VerbError("a path cannot hold a zero byte")
    whole = os.path.normpath(os.path.join(here(node), path))
    whole = "/" + whole.lstrip("/")  # normpath keeps two leading slashes
    return whole + "/" if is_folder_text(path) and whole != "/" else whole


def is_folder_text(path: str) -> bool:
    """Whether a path ends so that it can only name a folder."""
    return path in (".", "..") or path.endswith(("/", "/.", "/.."))


def make_folders(path: str, mode: int = 0o755, done: Callable[[str], object] | None = None) -> bool:
    """Make a folder and the missing ones above it; whether any was missing.

    Args:
        mode: of the folders; the umask does not change it.
        done: called with each folder that was made.

    Raises:
        VerbError: one cannot be made; the reason has its path.
    """
    missing = missing_folders(path)
    for folder in missing:
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


def missing_folders(path: str) -> list[str]:
    """The folder and those above it that are missing, the outermost first. Raises VerbError for what is no folder."""
    missing: list[str] = []
    at = path.rstrip("/") or "/"
    while not os.path.isdir(at):
        if os.path.lexists(at):
            raise VerbError(f"{at}: not a folder")
        missing.insert(0, at)
        at = os.path.dirname(at)
    return missing


def broken(path: str, error: OSError) -> VerbError:
    """A VerbError with the path and the system's reason."""
    return VerbError(f"{path}: {error.strerror or error}")


def make_cache_folder(folder: Mapping[str, Any], node: Node) -> None:
    """Make the folder of a `--mount=type=cache`; an existing one stays as it is. Raises VerbError."""
    path = absolute(node.word(folder["path"]), node).rstrip("/") or "/"
    if make_folders(path):
        try:
            os.chmod(path, folder["mode"])
            if "owner" in folder:
                os.chown(path, *node.identity(folder["owner"]))
        except OSError as error:
            raise broken(path, error) from error

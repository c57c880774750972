"""Folders on the node: finds the folder of relative paths and makes missing folders."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping
from typing import Any

from director.errors import VerbError
from director.transfer.safe_write import Walk, naming
from director.verbs.base import Node
from director.verbs.ownership import Asked


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


def make_folder(path: str, asked: Asked, keep: bool = False, dry: bool = False) -> bool:
    """Make a folder and the missing ones above it, and give it owner and mode; whether anything changed.

    Args:
        keep: a folder that is there stays as it is.
        dry: change nothing, and tell what would change.

    Raises:
        VerbError: with the path and what is wrong there.
    """
    made: list[str] = []
    with Walk(made=made.append, dry=dry) as walk, naming(path):
        folder = walk.open(path)
        status = folder.status()
        if status is not None and (made or not keep) and asked.differs(status):
            return dry or folder.settle(asked.uid, asked.gid, asked.bits(stat.S_IMODE(status.st_mode), True))
    return bool(made)


def make_cache_folder(folder: Mapping[str, Any], node: Node) -> None:
    """Make the folder of a `--mount=type=cache`; an existing one stays as it is. Raises VerbError."""
    path = absolute(node.word(folder["path"]), node).rstrip("/") or "/"
    owner = node.identity(folder["owner"]) if "owner" in folder else (-1, -1)
    make_folder(path, Asked(*owner, f"{folder['mode']:o}"), keep=True)

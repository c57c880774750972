"""Folders in memory for what must not reach a disk: private to one user, and gone when they are no longer used."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from director.errors import VerbError

PREFIX = "director-secret-"
PLACES = ("/run", "/dev/shm")  # in memory, if the machine has them so
KINDS = frozenset(("tmpfs", "ramfs"))


@contextmanager
def made(owner: str, uid: int = -1, gid: int = -1) -> Iterator[str]:
    """A folder that only this user can enter, until the end of the context.

    Args:
        owner: names the client, for `sweep`.
        uid, gid: -1 for this process's own.

    Raises:
        VerbError: this machine has no file system in memory.
    """
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{owner}-", dir=_place())
    try:
        os.chown(folder, uid, gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(owner: str) -> None:
    """Remove what an earlier process of this client left."""
    for place in _places():
        with suppress(OSError):
            for entry in list(os.scandir(place)):
                if entry.name.startswith(f"{PREFIX}{owner}-") and entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)


def _places() -> list[str]:
    return [*PLACES, *filter(os.path.isabs, [os.environ.get("XDG_RUNTIME_DIR", "")])]


def _place() -> str:
    """The first place in memory that this process can write to. Raises VerbError."""
    kinds = _kinds()
    for folder in _places():
        with suppress(OSError):
            if os.access(folder, os.W_OK | os.X_OK) and kinds.get(os.stat(folder).st_dev) in KINDS:
                return folder
    raise VerbError(
        f"this node has no file system in memory that the client can write to (tmpfs at {' or '.join(PLACES)}); "
        "use env=VARIABLE"
    )


def _kinds() -> dict[int, str]:
    """The kind of file system by number of device."""
    found: dict[int, str] = {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields, _, behind = line.partition(" - ")
            major, _, minor = fields.split()[2].partition(":")
            found[os.makedev(int(major), int(minor))] = behind.split()[0]
    return found

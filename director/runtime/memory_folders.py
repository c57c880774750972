"""Files in memory for what must not reach a disk: private to one user, and gone when they are no longer used."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from director.errors import VerbError

PREFIX = "director-secret-"
NAME = "value"  # of the file in a folder
PLACES = ("/run", "/dev/shm")  # in memory, if the machine has them so
KINDS = frozenset(("tmpfs", "ramfs"))


@contextmanager
def file(owner: str, data: bytes, mode: int, uid: int = -1, gid: int = -1) -> Iterator[str]:
    """The path of a file in memory in a folder that only its user can enter, until the end of the context.

    Args:
        owner: names the client, for `sweep`.
        uid, gid: -1 for this process's own.

    Raises:
        VerbError: this machine has no file system in memory. OSError.
    """
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{owner}-", dir=_place())
    try:
        above = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fd = os.open(NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=above)
            with open(fd, "wb") as output:
                output.write(data)
                os.fchmod(fd, mode)
                os.fchown(fd, uid, gid)
            os.fchown(above, uid, gid)  # the last: the user can put something else in its place from now on
        finally:
            os.close(above)
        yield os.path.join(folder, NAME)
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

"""Gives up root for good: the process becomes another user, who gets the files that it goes on to write."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat

from director.errors import StartError


def give(folder: str, uid: int, gid: int) -> None:
    """Give a folder of root, and what is in it, to a user. Raises OSError.

    Links are not followed. A file that has another name elsewhere stays as it is, as the folder may have been this
    user's before.
    """
    for path, _, names in os.walk(folder):
        for name in ("", *names):
            with contextlib.suppress(FileNotFoundError):
                _give_one(os.path.join(path, name), uid, gid)


def _give_one(path: str, uid: int, gid: int) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        if os.path.islink(path):
            return
        raise
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
            os.fchown(fd, uid, gid)
    finally:
        os.close(fd)


def become(name: str, folder: str) -> None:
    """Become a user, with their groups, HOME and USER; `folder` must be usable then. Raises StartError, OSError."""
    entry = pwd.getpwnam(name)
    if os.geteuid() != entry.pw_uid:
        os.initgroups(name, entry.pw_gid)
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    os.environ.update(HOME=entry.pw_dir, USER=name, LOGNAME=name)
    for library in (os.__file__, __file__):  # more is imported later
        if not os.access(library, os.R_OK):
            raise StartError(f"{name} cannot read {library}; install director where everybody can read it")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StartError(f"{name} cannot use the state folder {folder}; give every folder above it the mode 0755")

"""Gives up root for good: the process becomes another user, who gets the files that it goes on to write."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat

from director.errors import StartError


def give(folder: str, uid: int, gid: int) -> None:
    """Give a folder of root, and what is in it, to a user. Raises OSError.

    The folder may be this user's, who may change it meanwhile: each name is opened in the open folder above, no link is
    followed, and a file that has another name elsewhere stays as it is.
    """
    for _, _, names, above in os.fwalk(folder):
        os.fchown(above, uid, gid)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                _give_file(name, above, uid, gid)


def _give_file(name: str, above: int, uid: int, gid: int) -> None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=above)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, or a socket
            return
        raise
    try:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            os.fchown(fd, uid, gid)
    finally:
        os.close(fd)


def become(name: str, folder: str) -> None:
    """Become a user for good, with their groups, HOME and USER; root gives them `folder` before. Raises StartError."""
    entry = pwd.getpwnam(name)
    try:
        if os.geteuid() == 0:
            give(folder, entry.pw_uid, entry.pw_gid)
            os.initgroups(name, entry.pw_gid)
            os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
            os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    except OSError as error:
        raise StartError(f"cannot become {name}: {error.strerror}") from error
    os.environ.update(HOME=entry.pw_dir, USER=name, LOGNAME=name)
    for library in (os.__file__, __file__):  # more is imported later
        if not os.access(library, os.R_OK):
            raise StartError(f"{name} cannot read {library}; install director where everybody can read it")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StartError(f"{name} cannot use the state folder {folder}; give every folder above it the mode 0755")

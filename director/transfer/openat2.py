"""Opens a path below a folder so that the kernel itself refuses every link and every way out (`openat2`, Linux 5.6)."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import lru_cache
from typing import Any

NUMBER = 437  # of the system call, on every architecture that CPython runs on
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(folder: int, path: str, flags: int) -> int:
    """Open `path`, which is relative and has no `..`, below an open folder; a link on the way or at its end fails.

    Where the kernel or a container's filter has no openat2 each name is opened in the folder of the one before.

    Args:
        folder: a descriptor.
        flags: for `os.open`, with O_PATH or O_RDONLY.

    Raises:
        OSError: NotADirectoryError for a link or a file on the way.
    """
    if _available():
        try:
            return _openat2(folder, path, flags)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EXDEV):  # EXDEV: the path was about to leave the folder
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
            raise
    return _open_by_names(folder, path.split("/"), flags | os.O_NOFOLLOW)


def _open_by_names(folder: int, names: list[str], flags: int) -> int:
    at = os.dup(folder)
    for number, name in enumerate(names, 1):
        last = number == len(names)
        try:
            inner = os.open(name, flags if last else flags | os.O_PATH | os.O_DIRECTORY, dir_fd=at)
        finally:
            os.close(at)
        at = inner
    return at


def _openat2(folder: int, path: str, flags: int) -> int:
    how = _How(flags | os.O_CLOEXEC, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    fd = int(_libc().syscall(ctypes.c_long(NUMBER), folder, os.fsencode(path), ctypes.byref(how), size))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return fd


@lru_cache(1)
def _available() -> bool:
    """ENOSYS: the kernel is older; EPERM: a filter of system calls does not know it."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(_openat2(root, ".", os.O_PATH | os.O_DIRECTORY))
    except OSError:
        return False
    finally:
        os.close(root)
    return True


@lru_cache(1)
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)

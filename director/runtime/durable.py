"""Makes files and names durable; writes small files atomically."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

SYNC_FILE_RANGE_WRITE = 2


def write_private(path: str, data: bytes) -> None:
    """Write a file of mode 0600 and replace `path` by it; durable on return. One writer a path. Raises OSError."""
    temporary = f"{path}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(descriptor: int) -> None:
    """Flush the whole file system of an open file to disk, which many files do with once. Raises OSError."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
    elif syncfs(descriptor):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def begin_flush(descriptor: int, offset: int, length: int) -> None:
    """Let the system write a part of a file to disk from now on, so that a later fsync has less to wait for."""
    start = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if start is not None:
        start(descriptor, ctypes.c_int64(offset), ctypes.c_int64(length), SYNC_FILE_RANGE_WRITE)


class _Threads:
    """The process that has an event loop, which shall not wait for the disk; 0 for none."""

    process = 0


def use_threads() -> None:
    """From now on let threads wait for the disk in this process, but not in those that it forks."""
    _Threads.process = os.getpid()


def in_thread(function: Callable[[int], Any], descriptor: int) -> None:
    """Call a function that waits for the disk, by a thread where `use_threads` was called; other greenlets go on."""
    if _Threads.process == os.getpid():
        import gevent

        gevent.get_hub().threadpool.apply(function, (descriptor,))
    else:
        function(descriptor)

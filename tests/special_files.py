"""Devices, FIFOs and sockets for tests, which file verbs must leave as they are."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

#: what each is called in the reason of a task that would have replaced it
NAMES = {"fifo0": "a FIFO", "sock0": "a socket"}
if os.geteuid() == 0:  # nobody else can make a device
    NAMES.update(dev0="a character device", disk0="a block device")


def make_special(folder: Path) -> dict[Path, str]:
    """One of each kind in `folder`; path to what it is called."""
    os.mkfifo(folder / "fifo0")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "sock0"))
    if os.geteuid() == 0:
        os.mknod(folder / "dev0", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(folder / "disk0", 0o600 | stat.S_IFBLK, os.makedev(7, 255))
    return {folder / name: said for name, said in NAMES.items()}


def left_as_made(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Name, mode and inode of all that is in `folder`."""
    for path in sorted(folder.iterdir()):
        status = path.lstat()
        yield path.name, status.st_mode, status.st_ino

"""Remembers the folders in which a client writes, so that its next start removes what was left half-written there."""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress

from director.errors import VerbError
from director.transfer.safe_write import Walk

log = logging.getLogger(__name__)

_TEMPORARY = re.compile(rb"\..{0,160}\.director-[0-9a-f]{12}", re.DOTALL)  # see `safe_write.temporary_name`


class Unfinished:
    """Keeps the paths in one file as long as a step writes.

    Args:
        path: of that file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: set[str] = set()
        self._steps = 0

    def begin(self) -> None:
        """A step begins to write."""
        self._steps += 1

    def note(self, folder: str) -> None:
        """A step is about to write in this folder. Raises OSError."""
        if folder not in self._known:
            self._known.add(folder)
            with open(self._path, "ab", opener=_private) as file:
                file.write(os.fsencode(folder) + b"\0")

    def end(self) -> None:
        """A step has written all, or removed what it had not."""
        self._steps -= 1
        if not self._steps and self._known:
            self._known.clear()
            with suppress(OSError):  # it is looked at once more then
                os.truncate(self._path, 0)

    def remove(self) -> int:
        """Remove the temporary files that an earlier client has left; how many there were."""
        try:
            with open(self._path, "rb") as file:
                folders = {os.fsdecode(path) for path in file.read().split(b"\0") if path}
        except FileNotFoundError:
            return 0
        count = sum(_clean(folder) for folder in folders)
        os.truncate(self._path, 0)
        return count


def _clean(path: str) -> int:
    count = 0
    try:
        with Walk(dry=True) as walk:
            folder = walk.open(path)
            for name in folder.names() if folder.fd >= 0 else ():
                if _TEMPORARY.fullmatch(os.fsencode(name)):
                    os.unlink(name, dir_fd=folder.fd)
                    count += 1
    except (OSError, VerbError) as error:
        log.warning("what an earlier client left in %s is not removed: %s", path, error)
    return count


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)

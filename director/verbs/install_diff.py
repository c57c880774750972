"""What an `Installer` would do, without touching anything: the changes as text, files as a diff (`--plan`)."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Callable

from director.transfer.safe_write import Folder
from director.transfer.unfinished import Unfinished
from director.verbs.contents import Bytes, Holding, Remote
from director.verbs.install import Installer, Receive
from director.verbs.ownership import Asked

TEXT_LIMIT = 64 * 1024  # bytes of a file that is shown as a diff
LINES_LIMIT = 3000  # of either side of a diff


class InstallDiff(Installer):
    """Compares the entries of one step with what is there, and writes nothing."""

    dry = True
    said_limit = 256 * 1024

    def __init__(
        self, asked: Asked, breathe: Callable[[], object], receive: Receive | None = None,
        unfinished: Unfinished | None = None,
    ) -> None:  # fmt: skip
        super().__init__(asked, breathe, receive)
        self._all_new = False  # new files are shown as well

    def _difference(self, folder: Folder, name: str, path: str, content: Holding, status: os.stat_result | None) -> str:
        """A unified diff of two small texts, else the sizes."""
        size = status.st_size if status is not None and stat.S_ISREG(status.st_mode) else -1
        old, new = _lines(_bytes_at(folder, name, size)), _lines(_bytes_of(content))
        if old is None or new is None:
            sizes = (
                f"a new file of {content.size} bytes" if size < 0 else f"{size} bytes now, {content.size} bytes then"
            )
            return f"{path}: {sizes}"
        diff = difflib.unified_diff(old, new, "/dev/null" if size < 0 else path, path)
        return "\n".join(line.rstrip("\n") for line in diff) or f"{path}: a new empty file"


def _bytes_of(content: Holding) -> bytes | None:
    return content.read() if content.size <= TEXT_LIMIT and isinstance(content, Bytes | Remote) else None


def _bytes_at(folder: Folder, name: str, size: int) -> bytes | None:
    if size < 0 or size > TEXT_LIMIT:
        return b"" if size < 0 else None
    with open(folder.read(name), "rb") as file:
        return file.read(TEXT_LIMIT)


def _lines(data: bytes | None) -> list[str] | None:
    """The lines of a text, None for what is none."""
    if data is None or b"\0" in data:
        return None
    try:
        lines = data.decode().splitlines(keepends=True)
    except UnicodeDecodeError:
        return None
    return lines if len(lines) <= LINES_LIMIT else None

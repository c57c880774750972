"""What an `Installer` would do, without touching anything: the changes as text, files as a diff (`--plan`)."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Callable

from director.verbs.contents import Blob, Bytes, Content
from director.verbs.folders import missing_folders
from director.verbs.install import Installer
from director.verbs.ownership import Asked

TEXT_LIMIT = 64 * 1024  # bytes of a file that is shown as a diff
LINES_LIMIT = 3000  # of either side of a diff


class InstallDiff(Installer):
    """Compares the entries of one step with what is there, and writes nothing."""

    said_limit = 256 * 1024

    def __init__(self, asked: Asked, breathe: Callable[[], object]) -> None:
        super().__init__(asked, breathe)
        self._all_new = False  # new files are shown as well

    def _difference(self, path: str, status: os.stat_result | None, content: Content) -> str:
        """A unified diff of two small texts, else the sizes."""
        size = status.st_size if status is not None and stat.S_ISREG(status.st_mode) else -1
        old, new = _lines(_bytes_at(path, size)), _lines(_bytes_of(content))
        if old is None or new is None:
            sizes = (
                f"a new file of {content.size} bytes" if size < 0 else f"{size} bytes now, {content.size} bytes then"
            )
            return f"{path}: {sizes}"
        diff = difflib.unified_diff(old, new, "/dev/null" if size < 0 else path, path)
        return "\n".join(line.rstrip("\n") for line in diff) or f"{path}: a new empty file"

    def _make_folders(self, path: str) -> None:
        for folder in missing_folders(path):
            if folder not in self._fresh:
                self._new_folder(folder)

    def _settle_folder(self, path: str, mode: int) -> None:
        if path.rstrip("/") not in self._fresh:
            super()._settle_folder(path, mode)

    def _set_status(self, path: str, status: os.stat_result, mode: int | None) -> None:
        pass

    def _write(self, path: str, content: Content, mode: int) -> None:
        self.parents(os.path.dirname(path))

    def _write_link(self, path: str, target: str) -> None:
        self.parents(os.path.dirname(path))


def _bytes_of(content: Content) -> bytes | None:
    return content.read() if content.size <= TEXT_LIMIT and isinstance(content, Bytes | Blob) else None


def _bytes_at(path: str, size: int) -> bytes | None:
    if size < 0 or size > TEXT_LIMIT:
        return b"" if size < 0 else None
    with open(path, "rb") as file:
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

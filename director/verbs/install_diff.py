"""What a `Installer` would do, found out without touching anything: the changes as text, files as a diff (`--plan`)."""

from __future__ import annotations

import difflib
import os
import stat

from director.errors import VerbError
from director.transfer.file_kinds import refuse_special
from director.verbs.contents import Blob, Bytes, Content
from director.verbs.folders import broken
from director.verbs.install import Installer

TEXT_LIMIT = 64 * 1024  # bytes of a file that is shown as a diff
LINES_LIMIT = 3000  # of either side of a diff
SAID_LIMIT = 256 * 1024  # bytes of all that is said of one step


class InstallDiff(Installer):
    """Compares the entries of one step with what is there, and notes what would change."""

    said_limit = SAID_LIMIT

    def said(self) -> bytes:
        """The changes, a line or a diff each."""
        return self._text()

    def link(self, path: str, target: str) -> None:
        """Whether it points there."""
        status = _lstat(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise VerbError(f"{path}: is a folder; a link cannot replace it")
        refuse_special(path, status)
        if status is None or not stat.S_ISLNK(status.st_mode) or os.readlink(path) != target:
            self._change(f"{path}: a link to {target}")
        else:
            self._tell_owner(path, status)
        self._note(path)

    def folder(self, path: str, mode: int) -> None:
        """Whether it is there with this mode."""
        mode = self._asked.bits(mode, True)
        if self._asked.mode.isdecimal():
            mode |= (mode & 0o444) >> 2
        if os.path.isdir(path):
            self._status(path, os.stat(path), mode)
        else:
            self._change(f"{path.rstrip('/')}/: a new folder")
            self._known.add(path.rstrip("/"))
        self.breathe()

    def parents(self, path: str) -> None:
        """Whether the folder is there."""
        path = path.rstrip("/") or "/"
        if path in self._known or os.path.isdir(path):
            return
        if os.path.lexists(path):
            raise VerbError(f"{path}: not a folder")
        self._known.add(path)
        self._change(f"{path}/: a new folder")

    def finish(self) -> None:
        """Nothing was made."""

    # -- inside -------------------------------------------------------------------------------------------

    def _file(self, path: str, content: Content, mode: int) -> None:
        status = _lstat(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise VerbError(f"{path}: is a folder; a file cannot replace it")
        refuse_special(path, status)
        if status is None:
            self.parents(os.path.dirname(path))
        is_file = status is not None and stat.S_ISREG(status.st_mode)
        if status is not None and is_file and status.st_size == content.size and content.is_in(path):
            self._status(path, status, mode)
        else:
            self._change(_difference(path, status.st_size if status is not None and is_file else -1, content))

    def _settle(self, path: str, status: os.stat_result, mode: int) -> None:
        """Not in a plan."""


def _difference(path: str, size: int, content: Content) -> str:
    """A unified diff of two small texts, else the sizes; `size` -1 when there is no file now."""
    before = b"" if size < 0 else _content_at(path) if size <= TEXT_LIMIT else None
    old, new = _lines(before), _lines(_content_of(content))
    if old is None or new is None:
        now = "a new file" if size < 0 else f"{size} bytes now"
        return f"{path}: {now}, {content.size} bytes then" if size >= 0 else f"{path}: {now} of {content.size} bytes"
    names = ("/dev/null" if size < 0 else path, path)
    found = [line.rstrip("\n") for line in difflib.unified_diff(old, new, *names)]
    return "\n".join(found) if found else f"{path}: a new empty file"


def _content_of(content: Content) -> bytes | None:
    if content.size > TEXT_LIMIT:
        return None
    if isinstance(content, Bytes):
        return content.data
    if isinstance(content, Blob):
        return content.read()
    return None


def _content_at(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(TEXT_LIMIT)
    except OSError as error:
        raise broken(path, error) from error


def _lines(data: bytes | None) -> list[str] | None:
    """The lines of a text, None for what is none."""
    if data is None or b"\0" in data:
        return None
    try:
        lines = data.decode().splitlines(keepends=True)
    except UnicodeDecodeError:
        return None
    return lines if len(lines) <= LINES_LIMIT else None


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise broken(path, error) from error

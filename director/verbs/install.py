"""Puts files, folders and links where they shall be, and touches only what is not so already.

A file is written beside its place under another name, flushed to disk and renamed: at any moment the place
holds the old content or the new one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from director.errors import VerbError
from director.runtime.durable import sync_folder
from director.transfer.file_kinds import refuse_special
from director.verbs.contents import Content
from director.verbs.folders import broken, make_folders
from director.verbs.ownership import Asked, settle_status

OUTPUT_LIMIT = 1 << 20  # bytes of destinations that are reported


class Installer:
    """Places the entries of one step.

    Args:
        asked: owner and mode of the step's flags.
        breathe: called between two entries.
    """

    said_limit = 64 * 1024  # bytes of all that is said of one step

    def __init__(self, asked: Asked, breathe: Callable[[], object]) -> None:
        self.changed = False
        self.placed: list[str] = []
        self._asked = asked
        self.breathe = breathe
        self._uid = asked.uid if asked.uid >= 0 else os.geteuid()
        self._gid = asked.gid if asked.gid >= 0 else os.getegid()
        self._lines: list[str] = []
        self._size = 0
        self._all_new = True
        self._touched: set[str] = set()
        self._known: set[str] = set()
        self._fresh: set[str] = set()  # folders whose owner and mode are nothing to tell: this step made them so
        self._closed: dict[str, int] = {}  # folders whose owner may not write into them, once the step is over

    def file(self, path: str, content: Content, mode: int) -> None:
        """`path` shall hold `content`; `mode` are the source's permission bits."""
        mode = self._asked.bits(mode, False)
        try:
            self._file(path, content, mode)
        except OSError as error:
            raise broken(path, error) from error
        self._note(path)

    def link(self, path: str, target: str) -> None:
        """`path` shall be a symbolic link to `target`."""
        try:
            status = self._there(path)
            if status is not None and stat.S_ISDIR(status.st_mode):
                raise VerbError(f"{path}: is a folder; a link cannot replace it")
            refuse_special(path, status)
            if status is None or not stat.S_ISLNK(status.st_mode) or os.readlink(path) != target:
                self._link(path, target)
            elif (status.st_uid, status.st_gid) != (self._uid, self._gid):
                self._tell_owner(path, status)
                os.lchown(path, self._uid, self._gid)
        except OSError as error:
            raise broken(path, error) from error
        self._note(path)

    def folder(self, path: str, mode: int) -> None:
        """`path` shall be a folder with this mode (but for what the step's flags ask)."""
        mode = self._asked.bits(mode, True)
        if self._asked.mode.isdecimal():  # an octal mode is meant for files: who may read may also enter
            mode |= (mode & 0o444) >> 2
        try:
            self.parents(path)
            if mode & 0o300 != 0o300 and os.geteuid() != 0:
                self._closed[path.rstrip("/")] = mode
            else:
                self._status(path, os.stat(path), mode)
        except OSError as error:
            raise broken(path, error) from error
        self.breathe()

    def parents(self, path: str) -> None:
        """Make `path` and the folders above it where they are missing."""
        path = path.rstrip("/") or "/"
        if path not in self._known:
            make_folders(path, done=self._made)
            self._known.add(path)

    def said(self) -> bytes:
        """The changes, for the step's standard error: a line each; where all is new the list of places says enough."""
        return b"" if self._all_new else self._text()

    def _text(self) -> bytes:
        return "".join(self._lines).encode("utf-8", "surrogateescape")

    def finish(self) -> None:
        """Close the folders that shall be, the inner ones first, and make the new names durable."""
        for folder, mode in sorted(self._closed.items(), reverse=True):
            try:
                self._status(folder, os.stat(folder), mode)
            except OSError as error:
                raise broken(folder, error) from error
        for folder in self._touched:
            try:
                sync_folder(folder)
            except OSError as error:
                raise broken(folder, error) from error

    # -- inside -------------------------------------------------------------------------------------------

    def _note(self, path: str) -> None:
        self.placed.append(path)
        self.breathe()

    def _there(self, path: str) -> os.stat_result | None:
        """What is at a file's or a link's place now."""
        status = _lstat(path)
        self._all_new = self._all_new and status is None
        return status

    def _change(self, text: str) -> None:
        self.changed = True
        if self._size > self.said_limit:
            return
        self._size += len(text)
        self._lines.append(f"{text}\n" if self._size <= self.said_limit else "… and more changes\n")

    def _status(self, path: str, status: os.stat_result, mode: int) -> None:
        """Owner and mode of what is there."""
        if path.rstrip("/") not in self._fresh:
            self._tell_owner(path, status)
            if stat.S_IMODE(status.st_mode) != mode:
                self._change(f"{path}: mode {stat.S_IMODE(status.st_mode):04o} becomes {mode:04o}")
        self._settle(path, status, mode)

    def _tell_owner(self, path: str, status: os.stat_result) -> None:
        if (status.st_uid, status.st_gid) != (self._uid, self._gid):
            self._change(f"{path}: owner {status.st_uid}:{status.st_gid} becomes {self._uid}:{self._gid}")

    def _settle(self, path: str, status: os.stat_result, mode: int) -> None:
        settle_status(path, status, self._uid, self._gid, mode)

    def _made(self, folder: str) -> None:
        self._change(f"{folder}/: a new folder")
        self._fresh.add(folder)
        if self._asked.uid >= 0:
            os.chown(folder, self._uid, self._gid)
        self._touched.add(os.path.dirname(folder))

    def _file(self, path: str, content: Content, mode: int) -> None:
        status = self._there(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise VerbError(f"{path}: is a folder; a file cannot replace it")
        refuse_special(path, status)
        is_file = status is not None and stat.S_ISREG(status.st_mode)
        if status is not None and is_file and status.st_size == content.size and _holds(path, content):
            self._status(path, status, mode)
        else:
            self._write(path, content, mode)
            self._change(f"{path}: a new file" if status is None else f"{path}: its content")

    def _write(self, path: str, content: Content, mode: int) -> None:
        temp = self._temp_name(path)
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            content.write_to(fd)
            if (self._uid, self._gid) != (os.geteuid(), os.getegid()) or _inherits_group(fd, self._gid):
                os.fchown(fd, self._uid, self._gid)
            os.fchmod(fd, mode)
            os.fsync(fd)
            os.rename(temp, path)
        except BaseException:
            os.unlink(temp)
            raise
        finally:
            os.close(fd)
        self._touched.add(os.path.dirname(path))

    def _link(self, path: str, target: str) -> None:
        temp = self._temp_name(path)
        os.symlink(target, temp)
        try:
            os.lchown(temp, self._uid, self._gid)
            os.rename(temp, path)
        except BaseException:
            os.unlink(temp)
            raise
        self._touched.add(os.path.dirname(path))
        self._change(f"{path}: a link to {target}")

    def _temp_name(self, path: str) -> str:
        folder, name = os.path.split(path)
        self.parents(folder)
        if folder in self._closed:
            os.chmod(folder, stat.S_IMODE(os.stat(folder).st_mode) | 0o700)
            self._fresh.add(folder)
        return os.path.join(folder, f".{name[:60]}.director-{os.urandom(6).hex()}")


def _holds(path: str, content: Content) -> bool:
    """Whether the file holds the content; one that may not be read is taken for another, and written anew."""
    try:
        return content.is_in(path)
    except PermissionError:
        return False


def _inherits_group(fd: int, gid: int) -> bool:
    """In a folder with the setgid bit new files get the folder's group."""
    return os.fstat(fd).st_gid != gid


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):  # making the folders says what stands in the way
        return None

"""Puts files, folders and links in their places, and touches only what differs.

A file is written beside its place under another name, flushed to disk and renamed: at any moment its place holds the
old content or the new one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from director.errors import VerbError
from director.runtime.durable import sync_folder
from director.transfer.file_kinds import refuse_special
from director.verbs.contents import Content
from director.verbs.folders import broken, make_folders
from director.verbs.ownership import Asked, settle_status

OUTPUT_LIMIT = 1 << 20  # bytes of destinations that are reported


class Installer:
    """Compares the entries of one step with what is there, and writes those that differ.

    Every method raises VerbError with the path that cannot be read or written.

    Args:
        asked: owner and mode of the step's flags.
        breathe: called between two entries.

    Attributes:
        changed: whether anything differed.
        placed: the paths of files and links, in order.
    """

    said_limit = 64 * 1024  # characters of changes that are reported

    def __init__(self, asked: Asked, breathe: Callable[[], object]) -> None:
        self.changed = False
        self.placed: list[str] = []
        self.breathe = breathe
        self._asked = asked
        self._uid = asked.uid if asked.uid >= 0 else os.geteuid()
        self._gid = asked.gid if asked.gid >= 0 else os.getegid()
        self._lines: list[str] = []
        self._size = 0
        self._all_new = True
        self._touched: set[str] = set()  # folders with new names in them
        self._known: set[str] = set()  # folders that are there
        self._fresh: set[str] = set()  # folders of which this step set owner and mode, which is no change to report
        self._closed: dict[str, int] = {}  # folders, with modes, that their owner may not write to after the step

    def file(self, path: str, content: Content, mode: int) -> None:
        """Let `path` hold `content`; `mode` are the source's permission bits."""
        with _naming(path):
            mode = self._asked.bits(mode, False)
            status = self._look(path, "file")
            is_file = status is not None and stat.S_ISREG(status.st_mode)
            if status is not None and is_file and status.st_size == content.size and _holds(path, content):
                self._settle(path, status, mode)
            else:
                self._write(path, content, mode)
                self._change(self._difference(path, status, content))
        self._note(path)

    def link(self, path: str, target: str) -> None:
        """Let `path` be a symbolic link to `target`."""
        with _naming(path):
            status = self._look(path, "link")
            if status is None or not stat.S_ISLNK(status.st_mode) or os.readlink(path) != target:
                self._write_link(path, target)
                self._change(f"{path}: a link to {target}")
            else:
                self._settle(path, status, None)
        self._note(path)

    def folder(self, path: str, mode: int) -> None:
        """Let `path` be a folder with this mode, or the one that the step's flags ask for."""
        mode = self._asked.bits(mode, True)
        if self._asked.mode.isdecimal():  # an octal mode is meant for files: who may read a folder may enter it
            mode |= (mode & 0o444) >> 2
        with _naming(path):
            self.parents(path)
            if mode & 0o300 != 0o300 and os.geteuid() != 0:
                self._closed[path.rstrip("/")] = mode
            else:
                self._settle_folder(path, mode)
        self.breathe()

    def parents(self, path: str) -> None:
        """Make the folder `path` and those above it where they are missing."""
        path = path.rstrip("/") or "/"
        if path not in self._known:
            self._make_folders(path)
            self._known.add(path)

    def said(self) -> bytes:
        """The changes, for the step's standard error; none where all is new, as the list of paths says enough."""
        return b"" if self._all_new else "".join(self._lines).encode("utf-8", "surrogateescape")

    def finish(self) -> None:
        """Close the folders that must be, the inner ones first, and make the new names durable."""
        for folder, mode in sorted(self._closed.items(), reverse=True):
            with _naming(folder):
                self._settle_folder(folder, mode)
        for folder in self._touched:
            with _naming(folder):
                sync_folder(folder)

    # -- comparing ----------------------------------------------------------------------------------------

    def _look(self, path: str, kind: str) -> os.stat_result | None:
        """What is in the place of a file or link now."""
        status = _lstat(path)
        self._all_new = self._all_new and status is None
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise VerbError(f"{path}: is a folder; a {kind} cannot replace it")
        refuse_special(path, status)
        return status

    def _settle(self, path: str, status: os.stat_result, mode: int | None) -> None:
        """Owner and mode of what is there; None for a link, which has no mode."""
        is_owned = (status.st_uid, status.st_gid) == (self._uid, self._gid)
        now = stat.S_IMODE(status.st_mode)
        if path.rstrip("/") not in self._fresh:
            if not is_owned:
                self._change(f"{path}: owner {status.st_uid}:{status.st_gid} becomes {self._uid}:{self._gid}")
            if mode is not None and now != mode:
                self._change(f"{path}: mode {now:04o} becomes {mode:04o}")
        if not is_owned or mode not in (None, now):
            self._set_status(path, status, mode)

    def _note(self, path: str) -> None:
        self.placed.append(path)
        self.breathe()

    def _change(self, text: str) -> None:
        self.changed = True
        if self._size > self.said_limit:
            return
        self._size += len(text)
        self._lines.append(f"{text}\n" if self._size <= self.said_limit else "… and more changes\n")

    # -- writing; `InstallDiff` does all of this otherwise ------------------------------------------------

    def _difference(self, path: str, status: os.stat_result | None, content: Content) -> str:
        return f"{path}: a new file" if status is None else f"{path}: its content"

    def _make_folders(self, path: str) -> None:
        make_folders(path, done=self._made)

    def _made(self, folder: str) -> None:
        self._new_folder(folder)
        if self._asked.uid >= 0:
            os.chown(folder, self._uid, self._gid)
        self._touched.add(os.path.dirname(folder))

    def _new_folder(self, folder: str) -> None:
        self._change(f"{folder}/: a new folder")
        self._fresh.add(folder)

    def _settle_folder(self, path: str, mode: int) -> None:
        self._settle(path, os.stat(path), mode)

    def _set_status(self, path: str, status: os.stat_result, mode: int | None) -> None:
        if mode is None:
            os.lchown(path, self._uid, self._gid)
        else:
            settle_status(path, status, self._uid, self._gid, mode)

    def _write(self, path: str, content: Content, mode: int) -> None:
        with self._replacing(path) as temp:
            fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                content.write_to(fd)
                if (self._uid, self._gid) != (os.geteuid(), os.getegid()) or _inherits_group(fd, self._gid):
                    os.fchown(fd, self._uid, self._gid)
                os.fchmod(fd, mode)
                os.fsync(fd)
            finally:
                os.close(fd)

    def _write_link(self, path: str, target: str) -> None:
        with self._replacing(path) as temp:
            os.symlink(target, temp)
            os.lchown(temp, self._uid, self._gid)

    @contextmanager
    def _replacing(self, path: str) -> Iterator[str]:
        """A name beside `path`; what is made by this name takes the place of `path` at the end."""
        folder, name = os.path.split(path)
        self.parents(folder)
        if folder in self._closed:
            os.chmod(folder, stat.S_IMODE(os.stat(folder).st_mode) | 0o700)
            self._fresh.add(folder)
        temp = os.path.join(folder, f".{name[:60]}.director-{os.urandom(6).hex()}")
        try:
            yield temp
            os.rename(temp, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temp)
            raise
        self._touched.add(folder)


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """An error of the system becomes a VerbError that names the path."""
    try:
        yield
    except OSError as error:
        raise broken(path, error) from error


def _holds(path: str, content: Content) -> bool:
    """Whether the file holds the content; one that may not be read is written anew."""
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

"""Puts files, folders and links in their places, and touches only what differs.

A file is written beside its place under another name, flushed to disk and renamed: at any moment its place holds the
old content or the new one. Contents that the server has are requested for many files at a time. All of it goes through
`director.transfer.safe_write` and `file_batch`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from typing import ClassVar

from director.errors import VerbError
from director.transfer.file_batch import BYTES, FILES, Batch
from director.transfer.file_kinds import refuse_special
from director.transfer.pieces import Content
from director.transfer.safe_write import Folder, Walk, broken, naming, settle
from director.transfer.unfinished import Unfinished
from director.verbs.contents import Arriving, Holding, Remote, Waiting, check_room
from director.verbs.ownership import Asked

OUTPUT_LIMIT = 1 << 20  # bytes of destinations that are reported

Receive = Callable[[Sequence[Content], Callable[[Content, memoryview, bool], None]], None]


class Installer:
    """Compares the entries of one step with what is there, and writes those that differ.

    Every method raises VerbError with the path that cannot be read or written.

    Args:
        asked: owner and mode of the step's flags.
        breathe: called between two entries.
        receive: as `Node.receive`; only needed where contents are `Remote`.
        unfinished: remembers the folders in which files are being written.

    Attributes:
        changed: whether anything differed.
        placed: the paths of files and links, in order.
        walk: opens the folders.
    """

    dry: ClassVar[bool] = False  # it writes nothing
    said_limit = 64 * 1024  # characters of changes that are reported

    def __init__(
        self, asked: Asked, breathe: Callable[[], object], receive: Receive | None = None,
        unfinished: Unfinished | None = None,
    ) -> None:  # fmt: skip
        self.changed = False
        self.placed: list[str] = []
        self.breathe, self._receive = breathe, receive
        self.walk = Walk(asked.uid, asked.gid, made=self._made, dry=self.dry)
        self._asked = asked
        self._uid = asked.uid if asked.uid >= 0 else os.geteuid()
        self._gid = asked.gid if asked.gid >= 0 else os.getegid()
        self._lines: list[str] = []
        self._size = 0
        self._all_new = True
        self._new_folders: set[str] = set()  # that this step has made
        self._written: set[str] = set()  # paths in these
        self._fresh: set[str] = set()  # folders of which this step set owner and mode, which is no change to report
        self._closed: dict[str, int] = {}  # folders, with modes, that their owner may not write to after the step
        self._batch = Batch(unfinished)
        self._waiting: list[Waiting] = []  # files whose contents are not requested yet
        self._awaited = 0  # bytes of these
        self._unnamed: set[str] = set()  # paths of these, and of files that are written and not renamed

    def __enter__(self) -> Installer:
        return self

    def __exit__(self, *error: object) -> None:
        self._batch.__exit__(*error)
        self.walk.__exit__(*error)

    def file(self, path: str, content: Holding, mode: int) -> None:
        """Let `path` hold `content`; `mode` are the source's permission bits."""
        mode = self._asked.bits(mode, False)
        try:
            folder, name, status = self._entry(path, "file")
            if status is None or not self._keep_file(folder, name, path, content, mode):
                difference = self._difference(folder, name, path, content, status)
                self._write(folder, name, path, content, mode)
                self._change(difference)
        except OSError as error:
            raise broken(path, error) from error
        self._end_entry(path)

    def link(self, path: str, target: str) -> None:
        """Let `path` be a symbolic link to `target`."""
        with naming(path):
            folder, name, status = self._entry(path, "link")
            is_there = status is not None and stat.S_ISLNK(status.st_mode) and folder.target(name) == target
            if not is_there:
                self._change(f"{path}: a link to {target}")
            is_same = is_there and status is not None and not self._differs(path, status, None)
            if not is_same and not self.dry:
                self._reopen(folder, path)
                folder.link(name, target, self._uid, self._gid)
        self._end_entry(path)

    def folder(self, path: str, mode: int) -> None:
        """Let `path` be a folder with this mode, or the one that the step's flags ask for."""
        path = path.rstrip("/") or "/"
        mode = self._asked.bits(mode, True)
        if self._asked.mode.isdecimal():  # an octal mode is meant for files: who may read a folder may enter it
            mode |= (mode & 0o444) >> 2
        self.walk.open(path)
        if mode & 0o300 != 0o300 and os.geteuid() != 0:
            self._closed[path] = mode
        else:
            self._settle_folder(path, mode)
        self.breathe()

    def said(self) -> bytes:
        """The changes, for the step's standard error; none where all is new, as the list of paths says enough."""
        return b"" if self._all_new else "".join(self._lines).encode("utf-8", "surrogateescape")

    def finish(self) -> None:
        """Write what waits, close the folders that must be, the inner ones first, and make the new names durable."""
        self._flush()
        with naming("the new files"):
            self._batch.finish()
        for folder, mode in sorted(self._closed.items(), reverse=True):
            self._settle_folder(folder, mode)
        self.walk.sync()

    def _entry(self, path: str, kind: str) -> tuple[Folder, str, os.stat_result | None]:
        """The folder of a path, the name in it, and what is there now. Raises OSError."""
        if path in self._unnamed or self._batch.is_full:
            self._flush()
        above, _, name = path.rpartition("/")
        folder = self.walk.open(above or "/")
        is_new = above in self._new_folders and path not in self._new_folders and path not in self._written
        status = None if is_new else folder.status(name)
        if status is not None:
            self._all_new = False
            if stat.S_ISDIR(status.st_mode):
                raise VerbError(f"{path}: is a folder; a {kind} cannot replace it")
            refuse_special(path, status)
        return folder, name, status

    def _end_entry(self, path: str) -> None:
        self._written.add(path)
        self.placed.append(path)
        self.breathe()

    # -- comparing ----------------------------------------------------------------------------------------

    def _keep_file(self, folder: Folder, name: str, path: str, content: Holding, mode: int) -> bool:
        """Whether the file that is there holds the content; it gets owner and mode then.

        One with several names is written anew where these differ: another name may be that of somebody else.
        """
        fd = _opened(folder, name)
        if fd < 0:
            return False
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size != content.size or not content.is_in(fd):
                return False
            if self._differs(path, status, mode):
                if status.st_nlink > 1:
                    self._write(folder, name, path, content, mode)
                elif not self.dry:
                    settle(fd, self._uid, self._gid, mode)
        finally:
            os.close(fd)
        return True

    def _settle_folder(self, path: str, mode: int) -> None:
        folder = self.walk.open(path)
        with naming(path):
            status = folder.status()
            if status is not None and self._differs(path, status, mode) and not self.dry:
                folder.settle(self._uid, self._gid, mode)

    def _differs(self, path: str, status: os.stat_result, mode: int | None) -> bool:
        """Whether owner or mode must change, which is said; None for a link, which has no mode."""
        is_owned = (status.st_uid, status.st_gid) == (self._uid, self._gid)
        now = stat.S_IMODE(status.st_mode)
        if path not in self._fresh:
            if not is_owned:
                self._change(f"{path}: owner {status.st_uid}:{status.st_gid} becomes {self._uid}:{self._gid}")
            if mode not in (None, now):
                self._change(f"{path}: mode {now:04o} becomes {mode:04o}")
        return not is_owned or mode not in (None, now)

    def _change(self, text: str) -> None:
        self.changed = True
        if self._size > self.said_limit:
            return
        self._size += len(text)
        self._lines.append(f"{text}\n" if self._size <= self.said_limit else "… and more changes\n")

    def _difference(self, folder: Folder, name: str, path: str, content: Holding, status: os.stat_result | None) -> str:
        return f"{path}: its content" if status else f"{path}: a new file"

    # -- writing ------------------------------------------------------------------------------------------

    def _made(self, folder: str) -> None:
        if folder not in self._fresh:
            self._change(f"{folder}/: a new folder")
            self._fresh.add(folder)
            self._new_folders.add(folder)

    def _write(self, folder: Folder, name: str, path: str, content: Holding, mode: int) -> None:
        if self.dry:
            return
        if self._closed:
            self._reopen(folder, path)
        held = self._batch.hold(path.rpartition("/")[0], folder)
        self._unnamed.add(path)
        if isinstance(content, Remote) and content.content.size:
            self._waiting.append(Waiting(content.content, path, held, name, mode))
            self._awaited += content.content.size
            if len(self._waiting) >= FILES or self._awaited >= BYTES:
                self._flush()
        else:
            new = self._batch.begin(held, name, self._uid, self._gid, mode)
            if not isinstance(content, Remote):
                content.write_to(new)
            elif content.size:
                new.leave_holes((), content.size)
            self._batch.end(new)

    def _flush(self) -> None:
        """Request what waits and write it while it comes; then give the new files their names."""
        if self._waiting and self._receive is not None:
            files, self._waiting, self._awaited = self._waiting, [], 0
            check_room(files)
            self._receive([one.content for one in files], Arriving(files, self._batch, self._uid, self._gid).take)
        with naming("the new files"):
            self._batch.commit()
        self._unnamed.clear()

    def _reopen(self, folder: Folder, path: str) -> None:
        """Let its owner write into a folder that gets its mode at the end."""
        above, status = os.path.dirname(path), folder.status()
        if above in self._closed and status is not None:
            folder.settle(-1, -1, stat.S_IMODE(status.st_mode) | 0o700)
            self._fresh.add(above)


def _opened(folder: Folder, name: str) -> int:
    """A descriptor for reading a file; -1 where it is missing, is a link or may not be read."""
    try:
        return folder.read(name) if folder.fd >= 0 else -1
    except OSError:
        return -1

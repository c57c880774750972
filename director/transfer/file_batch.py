"""Files that are written together: each to a temporary file beside its place, all flushed at once, then renamed.

So a small file costs no flush of its own, and whenever the machine stops its place holds the old file or the whole new
one. All are made and renamed in folders that `safe_write` has opened.

    with Batch() as batch:
        new = batch.begin(batch.hold("/etc/app", folder), "app.conf", uid=0, gid=0, mode=0o644)
        new.write(b"port=80")
        new.end()
        batch.finish()
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

from director.runtime.durable import begin_flush, in_thread, sync_file_system
from director.transfer.blobs import write_all
from director.transfer.safe_write import Folder, settle, temporary_name
from director.transfer.unfinished import Unfinished

EACH = 8  # files, or folders, that are flushed one by one; for more of them the whole file system is flushed
FILES, BYTES, FOLDERS = 10_000, 64 << 20, 48  # the most that wait for their names
FLUSHED = 8 << 20  # bytes of a file that go to disk together while more come
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NewFile:
    """A file that does not have its name yet. Its methods raise OSError.

    Attributes:
        fd: its descriptor, -1 once it was closed.
        folder: that it is in.
        size: bytes that were written.
    """

    __slots__ = ("_extents", "_flushed", "_owner", "_room", "_temp", "fd", "folder", "name", "size")

    def __init__(self, folder: Folder, name: str, uid: int, gid: int, mode: int) -> None:
        self.folder, self._owner, self._temp = folder, (uid, gid, mode), temporary_name(name)
        self.name, self.size = name, 0
        self._extents: Iterator[tuple[int, int]] | None = None
        self._flushed = 0  # bytes that the system has been asked to write to disk
        self._room = 0  # bytes of the present part that were not written
        is_ours = uid in (-1, os.geteuid()) and gid in (-1, os.getegid())
        self.fd = os.open(self._temp, _NEW, mode & 0o777 if is_ours else 0o600, dir_fd=folder.fd)

    def leave_holes(self, extents: Iterable[tuple[int, int]], size: int) -> None:
        """What is written from now on goes into these parts of a file of this size; the others are holes."""
        self._extents = iter(extents)
        os.ftruncate(self.fd, size)

    def write(self, data: bytes | memoryview) -> None:
        """Write the next bytes."""
        self.size += len(data)
        if self._extents is None:
            write_all(self.fd, data)
            if self.size - self._flushed >= FLUSHED:
                begin_flush(self.fd, self._flushed, self.size - self._flushed)
                self._flushed = self.size
            return
        while len(data):
            if not self._room:
                offset, self._room = next(self._extents)
                os.lseek(self.fd, offset, os.SEEK_SET)
            part, data = data[: self._room], data[self._room :]
            write_all(self.fd, part)
            self._room -= len(part)

    def end(self) -> None:
        """All is written: give it owner and mode."""
        settle(self.fd, *self._owner)

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def rename(self) -> None:
        """Give it its name."""
        os.rename(self._temp, self.name, src_dir_fd=self.folder.fd, dst_dir_fd=self.folder.fd)
        self.folder.touched = True

    def drop(self) -> None:
        """Remove it, if it does not have its name."""
        self.close()
        with suppress(OSError):
            os.unlink(self._temp, dir_fd=self.folder.fd)


class Batch:
    """Files that wait for their names; at the end of the context those that have none are removed.

    Args:
        unfinished: gets the folders, for a process that may be killed.

    Its methods raise OSError.
    """

    def __init__(self, unfinished: Unfinished | None = None) -> None:
        self._unfinished = unfinished
        if unfinished is not None:
            unfinished.begin()
        self._files: list[NewFile] = []
        self._folders: dict[str, Folder] = {}  # by path: a walk closes its own ones
        self._open: list[NewFile] = []  # that are written and not flushed
        self._devices: dict[int, NewFile] = {}  # of many such files, one of each file system
        self._size = 0

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *_: object) -> None:
        for new in self._files:
            new.drop()
        self._files.clear()
        self._close_folders()
        if self._unfinished is not None:
            self._unfinished.end()
            self._unfinished = None

    @property
    def is_full(self) -> bool:
        """Whether `commit` is due."""
        return len(self._files) >= FILES or self._size >= BYTES or len(self._folders) >= FOLDERS

    def hold(self, path: str, folder: Folder) -> Folder:
        """A folder that a walk has opened and may close, as one that stays open until the names in it are on disk."""
        ours = self._folders.get(path)
        if ours is None:
            if self._unfinished is not None:
                self._unfinished.note(folder.real)
            ours = self._folders[path] = Folder(os.dup(folder.fd), folder.real, device=os.fstat(folder.fd).st_dev)
        return ours

    def begin(self, folder: Folder, name: str, uid: int, gid: int, mode: int) -> NewFile:
        """A new file that is to have this name in a folder of `hold`; -1 leaves the owner that the system gives."""
        new = NewFile(folder, name, uid, gid, mode)
        self._files.append(new)
        return new

    def end(self, new: NewFile) -> None:
        """All of this file is written."""
        new.end()
        self._size += new.size
        self._open.append(new)
        if len(self._open) > EACH:
            self._keep_one_of_each_device()

    def commit(self) -> None:
        """Flush the files to disk, then give them their names."""
        if len(self._files) > EACH:
            self._keep_one_of_each_device()
            for new in self._devices.values():
                in_thread(sync_file_system, new.fd)
        for new in self._open:
            in_thread(os.fsync, new.fd)
        for new in (*self._open, *self._devices.values()):
            new.close()
        for count, new in enumerate(self._files):
            try:
                new.rename()
            except OSError:
                del self._files[:count]
                raise
        self._files.clear()
        self._open, self._devices, self._size = [], {}, 0
        if self.is_full:
            self._sync_names()

    def finish(self) -> None:
        """Commit, and make the names durable."""
        self.commit()
        self._sync_names()

    def _keep_one_of_each_device(self) -> None:
        for new in self._open:
            if self._devices.setdefault(new.folder.device, new) is not new:
                new.close()
        self._open.clear()

    def _sync_names(self) -> None:
        folders = list(self._folders.values())
        many = len(folders) > EACH
        for folder in {folder.device: folder for folder in folders}.values() if many else folders:
            folder.sync(whole=many)
        self._close_folders()

    def _close_folders(self) -> None:
        for folder in self._folders.values():
            folder.close()
        self._folders.clear()

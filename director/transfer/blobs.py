"""File contents by their sha256: kept once, sent once, and complete or not there at all.

Layout of the folder: `ab/abcdef…` (the whole digest, below its first two characters) and `tmp/` for what is
not finished; folders are 0700, files 0600. Several processes may use one folder at a time. A content gets its
name only after its bytes are on disk, so a name that exists can be trusted after a crash. The store grows with
the jobs that need it (`sweep` takes out the rest) and never into the last `KEEP_FREE` bytes of the disk.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from director.errors import StoreError, UsageError
from director.runtime.durable import sync_folder

PIECE = 1 << 20
KEEP_FREE = 64 << 20  # bytes of the disk that stay free for the ledger and everybody else
ORPHAN_AGE = 3600.0  # seconds until a temp file or an unknown content counts as left behind
SCARCE = 0.05  # of the disk: with less room than that a cache keeps nothing that it need not
_DIGEST = re.compile(r"[0-9a-f]{64}")


class DamagedError(StoreError):
    """A content is not what its digest says; fetching it again helps."""


class SourceChangedError(UsageError):
    """A file was written to while it was read; sending it again, later, helps."""


@dataclass(slots=True)
class Temp:
    """A content in the making: an open descriptor (read and write) and its path; `BlobStore.drop` gives it up."""

    fd: int
    path: str


def is_digest(text: object) -> bool:
    """Whether `text` is a sha256 in lower-case hexadecimal."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


class BlobStore:
    """The contents in one folder.

    What `put_fd` and `put_bytes` took is readable at once in this object, but durable and visible to others
    only after `flush()`.

    Args:
        folder: made when it is missing.
        breathe: called after each MiB, for a process that has other work to do.
    """

    def __init__(self, folder: str, breathe: Callable[[], None] | None = None) -> None:
        self.folder = folder
        self._breathe = breathe
        self._temps = os.path.join(folder, "tmp")
        self._pending: dict[str, str] = {}
        os.makedirs(self._temps, mode=0o700, exist_ok=True)

    # -- reading ------------------------------------------------------------------------------------------

    def path(self, digest: str) -> str:
        """Where this content is (or would be). Raises StoreError for what is no digest."""
        return self._pending.get(digest) or self._place(digest)

    def has(self, digest: str) -> bool:
        """Whether the content is here; it is then safe from `sweep` for `ORPHAN_AGE` seconds."""
        if digest in self._pending:
            return True
        try:
            os.utime(self._place(digest))
        except FileNotFoundError:
            return False
        return True

    # -- writing ------------------------------------------------------------------------------------------

    def put_fd(self, fd: int) -> tuple[str, int]:
        """Keep what `fd` (an open file) holds from its beginning; gives sha256 and size in bytes.

        Raises: SourceChangedError when it was changed meanwhile, StoreError when the disk is full.
        """
        before = os.fstat(fd)
        pieces = _pieces(fd)
        digest, size = self._put(pieces, before.st_size)
        after = os.fstat(fd)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or size != after.st_size:
            raise SourceChangedError("the file was written to while it was read; try again when it is at rest")
        return digest, size

    def put_bytes(self, data: bytes) -> tuple[str, int]:
        """Keep `data`; gives sha256 and size in bytes. Raises StoreError when the disk is full."""
        return self._put((data,), len(data))

    def flush(self) -> None:
        """Make all that was put durable, in one go; only then the contents get their names.

        Raises: StoreError, and everything is still pending.
        """
        if not self._pending:
            return
        try:
            _sync_all(list(self._pending.values()), self._temps)
            places = {digest: self._place(digest) for digest in self._pending}
            for folder in {os.path.dirname(place) for place in places.values()}:
                os.makedirs(folder, mode=0o700, exist_ok=True)
            for digest, temp in self._pending.items():
                os.replace(temp, places[digest])
            for folder in {os.path.dirname(place) for place in places.values()}:
                sync_folder(folder)
            sync_folder(self.folder)
        except OSError as error:
            raise _disk_error(error) from error
        self._pending.clear()

    def open_temp(self) -> Temp:
        """A new empty file for a download, to be filled through its descriptor and committed."""
        path = os.path.join(self._temps, os.urandom(12).hex())
        return Temp(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path)

    def commit(self, temp: Temp, digest: str) -> str:
        """Check the whole content against `digest`, make it durable and give its path; `temp` is closed.

        Raises: DamagedError when it is another content (the temp file is gone then), StoreError for a full disk.
        """
        place = self._place(digest)
        try:
            found = self._hash(_pieces(temp.fd))
            if found != digest:
                raise DamagedError(f"the content that came is {found[:12]}…, not {digest[:12]}…")
            os.fsync(temp.fd)
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            os.replace(temp.path, place)
            sync_folder(os.path.dirname(place))
        except OSError as error:
            raise _disk_error(error) from error
        finally:
            self.drop(temp)
        return place

    def drop(self, temp: Temp) -> None:
        """Close a temp file and remove it, if it is still there."""
        if temp.fd >= 0:
            os.close(temp.fd)
            temp.fd = -1
        _unlink(temp.path)

    # -- forgetting ---------------------------------------------------------------------------------------

    def discard(self, digests: Iterable[str]) -> None:
        """Remove these contents; those that are not here are left out."""
        for digest in digests:
            _unlink(self._pending.pop(digest, "") or self._place(digest))

    def sweep(self, keep: Iterable[str], older_than: float = ORPHAN_AGE) -> int:
        """Remove contents that are not in `keep` and temp files, both untouched for `older_than` seconds.

        Returns how many files went.
        """
        kept = frozenset(keep)
        before = time.time() - older_than
        count = 0
        for entry in self._files():
            if entry.name not in kept and _older(entry, before):
                _unlink(entry.path)
                count += 1
        return count

    def trim(self, most: int, older_than: float = ORPHAN_AGE) -> int:
        """Remove the contents that were untouched for longest until `most` bytes are left, and none that is younger
        than `older_than` seconds. When little of the disk is free, all of that age go. Returns how many went.
        """
        disk = os.statvfs(self.folder)
        most = most if disk.f_bavail > disk.f_blocks * SCARCE else 0
        found = [(stat.st_mtime, stat.st_size, entry.path) for entry in self._files() if (stat := _stat(entry))]
        size, count, before = sum(row[1] for row in found), 0, time.time() - older_than
        for touched, length, path in sorted(found):
            if size <= most or touched >= before:
                break
            _unlink(path)
            size, count = size - length, count + 1
        return count

    # -- inside -------------------------------------------------------------------------------------------

    def _place(self, digest: str) -> str:
        if not is_digest(digest):
            raise StoreError(f"{digest!a:.80} is no sha256")
        return f"{self.folder}/{digest[:2]}/{digest}"

    def _put(self, pieces: Iterable[bytes], expected: int) -> tuple[str, int]:
        self._check_room(expected)
        temp = self.open_temp()
        digest, size = "", 0
        try:
            sha = hashlib.sha256()
            for piece in pieces:
                sha.update(piece)
                size += len(piece)
                write_all(temp.fd, piece)
                if self._breathe is not None:
                    self._breathe()
            digest = sha.hexdigest()
            if not self.has(digest):
                self._pending[digest] = temp.path
        except OSError as error:
            raise _disk_error(error) from error
        finally:
            os.close(temp.fd)
            if self._pending.get(digest) != temp.path:
                _unlink(temp.path)
        return digest, size

    def _check_room(self, size: int) -> None:
        disk = os.statvfs(self._temps)
        if disk.f_bavail * disk.f_frsize < size + KEEP_FREE:
            raise StoreError(f"no room for {size} bytes in {self.folder}: {KEEP_FREE >> 20} MiB of the disk stay free")

    def _hash(self, pieces: Iterable[bytes]) -> str:
        sha = hashlib.sha256()
        for piece in pieces:
            sha.update(piece)
            if self._breathe is not None:
                self._breathe()
        return sha.hexdigest()

    def _files(self) -> Iterator[os.DirEntry[str]]:
        for folder in os.scandir(self.folder):
            if folder.is_dir(follow_symlinks=False) and (folder.name == "tmp" or len(folder.name) == 2):
                yield from os.scandir(folder.path)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data` at the descriptor's position."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _pieces(fd: int) -> Iterator[bytes]:
    offset = 0
    while piece := os.pread(fd, PIECE, offset):
        offset += len(piece)
        yield piece


def _sync_all(paths: list[str], folder: str) -> None:
    """One fsync a file, or one for the whole file system where they are many."""
    if len(paths) > 64 and _sync_file_system(folder):
        return
    for path in paths:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _sync_file_system(folder: str) -> bool:
    import ctypes

    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        return False
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return bool(syncfs(fd) == 0)
    finally:
        os.close(fd)


def _older(entry: os.DirEntry[str], before: float) -> bool:
    stat = _stat(entry)
    return stat is not None and stat.st_mtime < before


def _stat(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _disk_error(error: OSError) -> StoreError:
    return StoreError(f"contents cannot be kept: {error.strerror or error}")

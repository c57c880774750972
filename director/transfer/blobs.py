"""Keeps blobs: file contents by their sha256, each stored once and only when it is complete.

Layout of the folder: `ab/abcdef…` (the whole digest, below its first two characters) and `tmp/` for unfinished files;
folders have mode 0700, files 0600. Several processes may use one folder at a time. A blob gets its name only after its
bytes are on disk, so after a crash every name is that of a complete blob. `sweep` removes blobs that no job needs; the
last `KEEP_FREE` bytes of the disk are never used.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from director.errors import StoreError, UsageError
from director.runtime.durable import sync_file_system, sync_folder

PIECE = 1 << 20  # bytes
KEEP_FREE = 64 << 20  # bytes of the disk that stay free for the ledger and other programs
MANY = 16  # pending blobs beyond which the whole file system is flushed instead of each of them
ORPHAN_AGE = 3600.0  # seconds after which a temp file or a blob that no job needs may be removed
SCARCE = 0.05  # share of the disk; when less is free, `trim` keeps no old blob
_DIGEST = re.compile(r"[0-9a-f]{64}")


class DamagedError(StoreError):
    """A content does not match its digest; fetching it again helps."""


class SourceChangedError(UsageError):
    """A file was changed while it was read; reading it again later helps."""


@dataclass(slots=True)
class Temp:
    """An unfinished blob: a descriptor for reading and writing, and its path. `BlobStore.drop` removes it."""

    fd: int
    path: str


def is_digest(text: object) -> bool:
    """Whether `text` is a sha256 in lower-case hexadecimal."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


class BlobStore:
    """The blobs in one folder.

    What the `put` methods have kept can be read with this object at once; it is durable and visible to other
    processes only after `flush()`.

    Args:
        folder: made when it is missing.
        breathe: called after each MiB, so that other work of the process can run.
    """

    def __init__(self, folder: str, breathe: Callable[[], None] | None = None) -> None:
        self.folder = folder
        self._breathe = breathe
        self._temps = os.path.join(folder, "tmp")
        self._pending: dict[str, str] = {}
        os.makedirs(self._temps, mode=0o700, exist_ok=True)

    # -- reading ------------------------------------------------------------------------------------------

    def path(self, digest: str) -> str:
        """The path of this blob, whether it exists or not. Raises StoreError for a wrong digest."""
        return self._pending.get(digest) or self._place(digest)

    def has(self, digest: str) -> bool:
        """Whether the blob exists; if so, `sweep` keeps it for another `ORPHAN_AGE` seconds. Raises StoreError."""
        if digest in self._pending:
            return True
        try:
            os.utime(self._place(digest))
        except FileNotFoundError:
            return False
        return True

    # -- writing ------------------------------------------------------------------------------------------

    def put_fd(self, fd: int, extents: Sequence[tuple[int, int]] | None = None) -> tuple[str, int]:
        """Keep the content of the open file `fd`, or its data in `extents` only; the sha256 in hex and size in bytes.

        Raises: SourceChangedError when the file was changed meanwhile, StoreError when the disk is full.
        """
        before = os.fstat(fd)
        parts = [(0, before.st_size + 1)] if extents is None else extents
        expected = before.st_size if extents is None else sum(length for _, length in extents)
        digest, size = self.put((piece for part in parts for piece in pieces_of(fd, *part)), expected)
        after = os.fstat(fd)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or size != expected:
            raise SourceChangedError("the file was written to while it was read; try again when it is at rest")
        return digest, size

    def put_bytes(self, data: bytes) -> tuple[str, int]:
        """Keep `data`; its sha256 in hex and size in bytes. Raises StoreError when the disk is full."""
        return self.put((data,), len(data))

    def put(self, pieces: Iterable[bytes], expected: int = 0) -> tuple[str, int]:
        """Keep the content that `pieces` make; its sha256 in hex and size in bytes.

        Args:
            expected: the size in bytes, as far as it is known; so much must be free on the disk.

        Raises:
            StoreError: the disk is full; and the errors of `pieces`, of which OSError counts as one of the disk.
        """
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

    def flush(self) -> None:
        """Make everything that was put durable at once, and give it its names.

        Raises: StoreError; then everything is still pending.
        """
        if not self._pending:
            return
        try:
            places = {digest: self._place(digest) for digest in self._pending}
            folders = {os.path.dirname(place) for place in places.values()}
            many = len(places) > MANY
            _sync([self._temps] if many else self._pending.values(), many)
            for folder in folders:
                os.makedirs(folder, mode=0o700, exist_ok=True)
            for digest, temp in self._pending.items():
                os.replace(temp, places[digest])
            _sync([self.folder] if many else [*folders, self.folder], many)
        except OSError as error:
            raise _disk_error(error) from error
        self._pending.clear()

    def open_temp(self) -> Temp:
        """A new empty file to write a blob to; then call `commit` or `drop`. Raises OSError."""
        path = os.path.join(self._temps, os.urandom(12).hex())
        return Temp(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path)

    def commit(self, temp: Temp, digest: str, found: str) -> str:
        """Check the digest `found` of the content of `temp`, make it durable and give its path; `temp` is closed.

        Raises: DamagedError when the content does not match (the temp file is removed), StoreError for a full disk.
        """
        place = self._place(digest)
        try:
            if found != digest:
                raise DamagedError(f"the content received has the sha256 {found[:12]}…, not {digest[:12]}…")
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
        """Close a temp file and remove it if it still exists."""
        if temp.fd >= 0:
            os.close(temp.fd)
            temp.fd = -1
        _unlink(temp.path)

    # -- removing -----------------------------------------------------------------------------------------

    def discard(self, digests: Iterable[str]) -> None:
        """Remove these blobs; missing ones are ignored."""
        for digest in digests:
            _unlink(self._pending.pop(digest, "") or self._place(digest))

    def sweep(self, keep: Iterable[str], older_than: float = ORPHAN_AGE) -> int:
        """Remove temp files and blobs that are not in `keep`, if not touched for `older_than` seconds.

        Returns how many files were removed.
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
        """Remove the blobs not touched for longest until at most `most` bytes are left, or all when the disk is short.

        A blob touched within `older_than` seconds stays. Returns how many were removed.
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

    def _check_room(self, size: int) -> None:
        disk = os.statvfs(self._temps)
        if disk.f_bavail * disk.f_frsize < size + KEEP_FREE:
            raise StoreError(f"no room for {size} bytes in {self.folder}: {KEEP_FREE >> 20} MiB must stay free")

    def _files(self) -> Iterator[os.DirEntry[str]]:
        for folder in os.scandir(self.folder):
            if folder.is_dir(follow_symlinks=False) and (folder.name == "tmp" or len(folder.name) == 2):
                yield from os.scandir(folder.path)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data` at the descriptor's position. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def pieces_of(fd: int, offset: int = 0, length: int = 1 << 62) -> Iterator[bytes]:
    """The content of an open file, or `length` bytes of it from `offset` on, `PIECE` at a time. Raises OSError."""
    while length and (piece := os.pread(fd, min(PIECE, length), offset)):
        offset, length = offset + len(piece), length - len(piece)
        yield piece


def _sync(paths: Iterable[str], whole: bool) -> None:
    """Flush these files or folders to disk, or the whole file systems that they are on."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            sync_file_system(fd) if whole else os.fsync(fd)
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
    return StoreError(f"a blob cannot be kept: {error.strerror or error}")

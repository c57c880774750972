"""Unpacks tar archives below one folder and never outside of it, whatever names and links they have."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator
from typing import IO

from director.errors import VerbError
from director.transfer.blobs import PIECE
from director.transfer.file_batch import NewFile
from director.verbs.contents import sha256_of
from director.verbs.install import Installer

MEMBERS_LIMIT = 1_000_000
BYTES_LIMIT = 1 << 40
MEMORY_LIMIT = 8 << 20
_TAR_ERRORS = (tarfile.TarError, EOFError, ValueError, OverflowError)


def is_archive(path: str) -> bool:
    """Whether the file is a tar archive (plain, gzip, bzip2 or xz) that is not empty."""
    try:
        with tarfile.open(path, "r:*") as archive:
            return archive.next() is not None
    except (*_TAR_ERRORS, OSError):
        return False


def unpack(path: str, root: str, installer: Installer) -> None:
    """Unpack the archive at `path` below the folder `root`; all names are checked before anything is written.

    Raises:
        VerbError: a member would leave the folder, is neither file, folder nor link, or cannot be read.
    """
    try:
        with tarfile.open(path, "r:*") as archive:
            members = _checked(archive)
            with installer.walk.inside(root):
                for member, name in members:
                    _place(archive, member, os.path.join(root, name), installer)
    except _TAR_ERRORS as error:
        raise VerbError(f"the archive cannot be read: {error}") from error
    installer.placed.append(root)


class Member:
    """The content of one file in an archive."""

    def __init__(self, archive: tarfile.TarFile, member: tarfile.TarInfo, breathe: Callable[[], object]) -> None:
        self._archive = archive
        self._member = member
        self._breathe = breathe
        self.size = _content_size(archive, member)
        self._data: bytes | None = None

    def is_in(self, fd: int) -> bool:
        """Whether an open file has this content, by sha256."""
        sha = hashlib.sha256()
        for piece in self._pieces():
            sha.update(piece)
        return sha.hexdigest() == sha256_of(fd, self._breathe)

    def write_to(self, new: NewFile) -> None:
        """Write the content."""
        for piece in self._pieces():
            new.write(piece)

    def _pieces(self) -> Iterator[bytes]:
        """The content; a small file is kept, as going back in a compressed archive reads it from its beginning."""
        if self.size > MEMORY_LIMIT:
            yield from self._read()
            return
        if self._data is None:
            self._data = b"".join(self._read())
        yield self._data

    def _read(self) -> Iterator[bytes]:
        source: IO[bytes] | None = self._archive.extractfile(self._member)
        if source is None:
            raise VerbError(f"the archive has no content for {self._member.name!r}")
        with source:
            while piece := source.read(PIECE):
                self._breathe()
                yield piece


def _checked(archive: tarfile.TarFile) -> list[tuple[tarfile.TarInfo, str]]:
    """Every member with its clean name. Raises VerbError for a member that is not allowed."""
    found: list[tuple[tarfile.TarInfo, str]] = []
    files: dict[str, int] = {}
    count = total = 0
    for member in archive:
        name = _clean(member.name)
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            raise VerbError(f"the archive has {member.name!r}, which is neither file, folder nor link")
        count, total = count + 1, total + member.size
        if count > MEMBERS_LIMIT or total > BYTES_LIMIT:
            raise VerbError(f"the archive has more than {MEMBERS_LIMIT} members or {BYTES_LIMIT >> 40} TiB")
        earlier = files.pop(name, len(found))  # a file may be in the archive twice: the last content counts
        at = earlier if member.isreg() else len(found)
        if member.isreg():
            files[name] = at
        if name:
            found[at : at + 1] = [(member, name)]
    return found


def _clean(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise VerbError(f"the archive has {name!r}, which leaves its folder")
    return "/".join(parts)


def _place(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str, installer: Installer) -> None:
    listed = len(installer.placed)
    mode = member.mode & 0o1777  # no set-user-id: the owner is another one than in the archive
    if member.isdir():
        installer.folder(path, mode if os.geteuid() == 0 else mode | 0o700)
    elif member.issym():
        installer.link(path, member.linkname)
    else:
        installer.file(path, Member(archive, member, installer.breathe), mode)
    del installer.placed[listed:]


def _content_size(archive: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    """Bytes of the content; of a hard link those of the file it names, through other hard links.

    Raises VerbError for a hard link that names no file of the archive.
    """
    target, seen = member, {member.name}
    while target.islnk():
        try:
            target = archive.getmember(target.linkname)
        except KeyError:
            raise VerbError(f"the archive's {member.name!r} is a link to nothing: {member.linkname!r}") from None
        if target.name in seen:
            raise VerbError(f"the archive's {member.name!r} is a link to itself")
        seen.add(target.name)
    if not target.isreg():
        raise VerbError(f"the archive's {member.name!r} is no link to a file: {member.linkname!r}")
    return target.size

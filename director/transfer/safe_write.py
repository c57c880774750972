"""Writes files, links and folders so that nobody else on the machine can lead a write elsewhere.

All that tasks and FETCH write goes through here, files by way of `file_batch`. `Walk(…).open(path)` opens a folder name
by name, each relative to the descriptor of the one above, and makes what is missing. The `Folder` it gives reads and
replaces entries by their names in it. Owner and mode are set on descriptors, never by path: a file or folder that
somebody else puts in the place of another keeps what it has.

A link on the way is followed only when it and the folder that it lies in belong to root or to this process's user, so
that `/lib` and `/var/run` work and a link of somebody else does not. Below the folder of `Walk.pass_no_link` none is.

    with Walk() as walk:
        folder = walk.open("/etc/app")
        folder.link("app.conf", "app-2.conf", uid=0, gid=0)
        walk.sync()
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from director.errors import VerbError
from director.runtime.durable import in_thread, sync_file_system
from director.transfer.openat2 import open_beneath

OPEN_FOLDERS = 64  # the most that one walk keeps open
LINKS_LIMIT = 40  # links that lead to links, as in the kernel
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTRY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True, eq=False)
class Folder:
    """An open folder. Its methods raise OSError, and take names of entries, never paths.

    Attributes:
        fd: a descriptor for looking names up (O_PATH); -1 for a folder that a dry walk would make.
        real: its path without links.
        touched: names in it have changed and are not yet on disk.
        device: of its file system, 0 if it was not asked for.
    """

    fd: int
    real: str
    touched: bool = False
    device: int = 0

    def status(self, name: str = "") -> os.stat_result | None:
        """Of an entry itself, not of what a link leads to; without a name that of the folder. None when missing."""
        if self.fd < 0:
            return None
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False) if name else os.fstat(self.fd)
        except FileNotFoundError:
            return None

    def read(self, name: str) -> int:
        """A descriptor for reading a file; fails for a link."""
        return os.open(name, _READ, dir_fd=self.fd)

    def target(self, name: str) -> str:
        """What a link leads to."""
        return os.readlink(name, dir_fd=self.fd)

    def link(self, name: str, target: str, uid: int, gid: int) -> None:
        """Replace an entry by a symbolic link."""
        with self._replacing(name) as temp:
            os.symlink(target, temp, dir_fd=self.fd)
            fd = os.open(temp, _ENTRY, dir_fd=self.fd)
            try:
                status = os.fstat(fd)
                if stat.S_ISLNK(status.st_mode) and status.st_nlink == 1:  # else another user has put it there
                    settle(fd, uid, gid)
            finally:
                os.close(fd)

    def settle(self, uid: int, gid: int, mode: int) -> bool:
        """Give the folder itself owner and mode; whether it had others."""
        return settle(self.fd, uid, gid, mode)

    def is_of(self, users: frozenset[int]) -> bool:
        """Whether it belongs to one of these users, and nobody else can rename what one of them has put into it."""
        status = os.fstat(self.fd)
        shared = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        return status.st_uid in users and not shared

    def names(self) -> list[str]:
        """The names of its entries."""
        fd = self._readable()
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def sync(self, whole: bool = False) -> None:
        """Make its names durable; with `whole` all of its file system."""
        if self.touched or whole:
            self.touched = False
            fd = self._readable()
            try:
                in_thread(sync_file_system if whole else os.fsync, fd)
            finally:
                os.close(fd)

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _readable(self) -> int:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)

    @contextmanager
    def _replacing(self, name: str) -> Iterator[str]:
        """A free name; what is made by it takes the place of `name` at the end."""
        temp = temporary_name(name)
        try:
            yield temp
            os.rename(temp, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            with suppress(OSError):
                os.unlink(temp, dir_fd=self.fd)
            raise
        self.touched = True


class Walk:
    """Opens folders by absolute paths without `..`, and keeps the last of them open until its end.

    Args:
        uid, gid: owner of the folders that it makes, with mode 0755; -1 leaves what the system gives.
        made: called with the path of each, the outermost first.
        dry: makes nothing; a missing folder is one with nothing in it.
    """

    def __init__(
        self, uid: int = -1, gid: int = -1, made: Callable[[str], object] | None = None, dry: bool = False
    ) -> None:
        self._owner, self._dry = (uid, gid), dry
        self._made = made or (lambda path: None)
        self._users = frozenset((0, os.geteuid()))
        self._open: OrderedDict[str, Folder] = OrderedDict()  # by path, the last used one at the end
        self._links = 0  # that are being followed
        self._linkless = ""  # below this folder no link is passed
        self._base: Folder | None = None  # that folder, once it is open
        self._inside = ("", "")  # a folder and its real path: what is below the one must be below the other

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *_: object) -> None:
        for folder in (*self._open.values(), self._base or Folder(-1, "")):
            folder.close()
        self._open.clear()

    def open(self, path: str) -> Folder:
        """The folder, made with those above it where they are missing; it is open until others were opened.

        Raises VerbError with the path and what is wrong there.
        """
        if (folder := self._open.get(path)) and not self._inside[0]:
            self._open.move_to_end(path)
            return folder
        at = path.rstrip("/") or "/"
        names: list[str] = []
        while at != "/" and at not in self._open:
            at, _, name = at.rpartition("/")
            at = at or "/"
            names.append(name)
        folder = self._open.get(at) or self._keep(at, Folder(os.open("/", _FOLDER), "/"))
        self._open.move_to_end(at)
        self._check_inside(at, folder)
        for name in reversed(names):
            if name in ("", ".", ".."):
                raise VerbError(f"{path!a:.200} leaves its folder; expected a path without ..")
            if at == self._linkless and self._base is None and folder.fd >= 0:
                self._base = Folder(os.dup(folder.fd), folder.real)
            at = f"{at.rstrip('/')}/{name}"
            folder = self._keep(at, self._enter(folder, name, at))
            self._check_inside(at, folder)
        return folder

    def sync(self) -> None:
        """Make all names durable that were written. Raises VerbError."""
        for path, folder in self._open.items():
            with naming(path):
                folder.sync()

    def pass_no_link(self, folder: str) -> None:
        """Follow no link below this folder from now on; nothing below it may be open yet."""
        self._linkless = folder.rstrip("/") or "/"

    @contextmanager
    def inside(self, folder: str) -> Iterator[None]:
        """Follow links below this folder only where they stay below it. Raises VerbError for others."""
        self._inside = (folder, self.open(folder).real)
        try:
            yield
        finally:
            self._inside = ("", "")

    def _keep(self, path: str, folder: Folder) -> Folder:
        self._open[path] = folder
        if len(self._open) > OPEN_FOLDERS:
            oldest, gone = self._open.popitem(last=False)
            try:
                with naming(oldest):
                    gone.sync()
            finally:
                gone.close()
        return folder

    def _check_inside(self, path: str, folder: Folder) -> None:
        root, real = self._inside
        if root and is_below(path, root) and not is_below(folder.real, real):
            raise VerbError(f"{path} goes through a link that leaves {root}")

    def _enter(self, parent: Folder, name: str, path: str) -> Folder:
        """The folder `name` in `parent`, made when it is missing; `path` is for messages."""
        with naming(path):
            try:
                if parent.fd >= 0:
                    return self._child(parent, name, path)
            except FileNotFoundError:
                if self._links:
                    raise VerbError(f"{path}: a link to nothing") from None
            except NotADirectoryError:
                return self._follow(parent, name, path)
            if self._dry:
                self._made(path)
                return Folder(-1, os.path.join(parent.real, name))
            return self._make(parent, name, path)

    def _child(self, parent: Folder, name: str, path: str) -> Folder:
        if self._base is not None and self._is_linkless(path):
            fd = open_beneath(self._base.fd, path[len(self._linkless) :].lstrip("/"), _FOLDER)
        else:
            fd = os.open(name, _FOLDER, dir_fd=parent.fd)
        return Folder(fd, os.path.dirname(parent.real) if name == ".." else os.path.join(parent.real, name))

    def _make(self, parent: Folder, name: str, path: str) -> Folder:
        try:
            os.mkdir(name, 0o700, dir_fd=parent.fd)
        except FileExistsError:  # somebody else has made it meanwhile
            return self._child(parent, name, path)
        folder = self._child(parent, name, path)
        try:
            if not parent.is_of(self._users) and not (os.fstat(folder.fd).st_uid in self._users and not folder.names()):
                raise VerbError(f"{path} was replaced by another folder while it was made")
            folder.settle(*self._owner, 0o755)
        except BaseException:
            folder.close()
            raise
        parent.touched = True
        self._made(path)
        return folder

    def _follow(self, parent: Folder, name: str, path: str) -> Folder:
        """The folder that a link leads to."""
        fd = os.open(name, _ENTRY, dir_fd=parent.fd)
        try:
            self._check_link(parent, os.fstat(fd), path)
            target = os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)
        at = Folder(os.open("/", _FOLDER), "/") if target.startswith("/") else Folder(os.dup(parent.fd), parent.real)
        self._links += 1
        try:
            for part in target.split("/"):
                if part not in ("", "."):
                    before, at = at, self._enter(at, part, path)
                    before.close()
        except BaseException:
            at.close()
            raise
        finally:
            self._links -= 1
        return at

    def _is_linkless(self, path: str) -> bool:
        below = bool(self._linkless) and path != self._linkless and is_below(path, self._linkless)
        return below and not self._links

    def _check_link(self, parent: Folder, status: os.stat_result, path: str) -> None:
        if not stat.S_ISLNK(status.st_mode):
            raise VerbError(f"{path}: not a folder")
        if self._links >= LINKS_LIMIT:
            raise VerbError(f"{path}: too many links")
        if self._is_linkless(path):
            raise VerbError(f"{path} is a link, which is not followed: files of another node pass none")
        if status.st_uid not in self._users or not parent.is_of(self._users):
            owners = f"uid {status.st_uid} in a folder of uid {os.fstat(parent.fd).st_uid}"
            raise VerbError(f"{path} is a link of {owners}, which is not followed: name the folder that it leads to")


def temporary_name(name: str) -> str:
    """A free name beside an entry."""
    return f".{name[:40]}.director-{os.urandom(6).hex()}"


def settle(fd: int, uid: int, gid: int, mode: int = -1) -> bool:
    """Give what is open owner and mode; whether it had others. Raises OSError.

    Args:
        fd: of a file, or of a folder or link that was opened with O_PATH.
        uid, gid, mode: -1 leaves what is there.
    """
    status = os.fstat(fd)
    at: int | str = fd if stat.S_ISREG(status.st_mode) else f"/proc/self/fd/{fd}"  # the system takes no O_PATH itself
    changed = uid not in (-1, status.st_uid) or gid not in (-1, status.st_gid)
    if changed:
        os.chown(at, uid, gid)
    if mode >= 0 and (changed or stat.S_IMODE(status.st_mode) != mode):  # a change of the owner removes setuid bits
        os.chmod(at, mode)
        changed = True
    return changed


def is_below(path: str, folder: str) -> bool:
    """Whether an absolute path is that of the folder or of something below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


@contextmanager
def naming(path: str) -> Iterator[None]:
    """An error of the system becomes a VerbError with the path and the reason."""
    try:
        yield
    except OSError as error:
        raise broken(path, error) from error


def broken(path: str, error: OSError) -> VerbError:
    """A VerbError with the path and the system's reason."""
    return VerbError(f"{path}: {error.strerror or error}")

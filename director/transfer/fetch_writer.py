"""Writes fetched files below a folder of the submitter, with that user's rights, and never outside of the folder.

A child process does it after it has given up all other rights. It opens every folder below the destination by its name
in the folder above and follows no link, so that neither names that a node sent nor links that exist there lead out of
the destination. It gets files as open descriptors and replaces each file as a whole.
"""

from __future__ import annotations

import errno
import logging
import os
import pwd
import signal
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from director.errors import VerbError
from director.protocol.framing import FDS_LIMIT, Channel
from director.transfer.blobs import PIECE, pieces_of, write_all
from director.transfer.file_kinds import refuse_special
from director.transfer.manifests import Row, leads_out, placed

log = logging.getLogger(__name__)

PATIENCE = 300.0  # the most seconds that the child may take for one batch
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Written:
    """What was written of the rows of one node.

    Attributes:
        paths: the destinations of files and links.
        left_out: what was not written, with the reason.
        changed: whether writing changed anything.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.left_out: list[str] = []
        self.changed = False


def write(
    rows: Sequence[Row], folder: str, node: str, owner: tuple[int, int], path_of: Callable[[str], str]
) -> Written:
    """Write `rows`, which `manifests.check` has accepted, below `folder`/`node`.

    Args:
        owner: uid and gid of the user to write as; another one than this process's needs root.
        path_of: the path of a blob by its digest.

    Raises:
        VerbError: a file cannot be read or written, with the reason.
    """
    if os.geteuid() not in (0, owner[0]):
        raise VerbError(f"the server cannot write files as the user {owner[0]}; run it as root, or as that user")
    written = Written()
    work = placed(rows)
    with _writer(os.path.join(folder, node), owner) as channel:
        for batch in _batches(work):
            fds = []
            try:
                for _, row in batch:
                    if row[0] == "file":
                        fds.append(os.open(path_of(row[4]), os.O_RDONLY | os.O_CLOEXEC))
                channel.send({"rows": batch}, b"", fds)
            except OSError as error:
                raise VerbError(f"the fetched contents cannot be read: {error.strerror}") from error
            finally:
                for fd in fds:
                    os.close(fd)
            answer = _answer(channel)
            written.changed |= answer["changed"]
            written.paths += answer["paths"]
            written.left_out += answer["left_out"]
        channel.send({"end": True})
        _answer(channel)
    return written


def _batches(work: Sequence[tuple[str, Row]]) -> Iterator[Sequence[tuple[str, Row]]]:
    """At least one batch, so that an empty source makes the folder too."""
    yield work[:FDS_LIMIT]
    for start in range(FDS_LIMIT, len(work), FDS_LIMIT):
        yield work[start : start + FDS_LIMIT]


def _answer(channel: Channel) -> dict[str, Any]:
    try:
        frame = channel.receive()
    except OSError as error:
        raise VerbError(f"the files could not be written within {PATIENCE:g} s") from error
    if frame is None:
        raise VerbError("the process that writes the files has ended")
    if "error" in frame[0]:
        raise VerbError(frame[0]["error"])
    return frame[0]


@contextmanager
def _writer(root: str, owner: tuple[int, int]) -> Iterator[Channel]:
    """A channel to a child process with the user's rights, which is killed afterwards."""
    ours, theirs = socket.socketpair()
    try:
        child = os.fork()
    except OSError as error:
        ours.close()
        theirs.close()
        raise VerbError(f"the process that writes the files cannot be started: {error.strerror}") from error
    if child == 0:
        _be_writer(theirs, ours, root, owner)
    theirs.close()
    ours.settimeout(PATIENCE)
    channel = Channel(ours)
    try:
        yield channel
    finally:
        channel.close()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


# -- in the child -----------------------------------------------------------------------------------------------


def _be_writer(link: socket.socket, other: socket.socket, root: str, owner: tuple[int, int]) -> None:
    """Serve the channel with the user's rights, and end the process."""
    try:
        other.close()
        keep = link.fileno()
        os.closerange(3, keep)
        os.closerange(keep + 1, 65536)
        become(*owner)
        _serve(Channel(link), root)
    except Exception:
        log.exception("the writer of %s failed", root)
    finally:
        os._exit(0)


def become(uid: int, gid: int) -> None:
    """Take the rights of this user and its groups for good; does nothing in a process that is not root's.

    Raises OSError.
    """
    if os.geteuid() == 0:
        try:
            groups = os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
        except KeyError:
            groups = [gid]
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    os.umask(0o022)
    os.chdir("/")


def _serve(channel: Channel, root: str) -> None:
    writer = None
    while (frame := channel.receive()) is not None:
        header, _, fds = frame
        try:
            if writer is None:
                writer = FolderWriter(root)
            if "end" in header:
                writer.sync()
                channel.send({"ended": True})
                return
            channel.send(writer.write(header["rows"], fds))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else f"{root}: "
            channel.send({"error": f"{where}{error.strerror}"})
        except VerbError as error:
            channel.send({"error": str(error)})
        finally:
            for fd in fds:
                os.close(fd)


class FolderWriter:
    """Writes below one folder and never outside of it.

    Args:
        root: made when it is missing. Links on the way to it are followed, but `root` itself must be no link.

    Raises:
        OSError, VerbError: the folder cannot be made or opened.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        above, name = os.path.split(root)
        os.makedirs(above, exist_ok=True)
        parent = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._fd = _enter(parent, name, 0o755, root)
        finally:
            os.close(parent)

    def write(self, rows: Sequence[tuple[str, Row]], fds: Sequence[int]) -> dict[str, Any]:
        """Write these rows, with one descriptor for each file; `{"changed", "paths", "left_out"}`.

        Raises VerbError with the path that cannot be written.
        """
        left = iter(fds)
        answer: dict[str, Any] = {"changed": False, "paths": [], "left_out": []}
        for place, row in rows:
            kind, _, mode, size, _, target, _ = row
            if kind == "link" and leads_out(place, target):
                answer["left_out"].append(f"{place} is a link that leads out of the node's folder")
                continue
            folder, name = self._folder_of(place)
            try:
                if kind == "dir":
                    os.close(_enter(folder, name, mode | 0o700, self._shown(place)))
                    continue
                status = _status(folder, name)
                refuse_special(self._shown(place), status)
                if kind == "link":
                    made = _link(folder, name, target, status)
                else:
                    made = _file(folder, name, next(left), size, mode, status)
            except OSError as error:
                raise VerbError(f"{self._shown(place)}: {error.strerror}") from error
            finally:
                os.close(folder)
            answer["changed"] |= made
            answer["paths"].append(self._shown(place))
        return answer

    def sync(self) -> None:
        """Flush the folder to disk. Raises OSError."""
        os.fsync(self._fd)

    def _shown(self, place: str) -> str:
        return os.path.join(self.root, place)

    def _folder_of(self, place: str) -> tuple[int, str]:
        """The open folder of a path below the root, made when it is missing, and the last name of the path."""
        *folders, name = place.split("/")
        at = os.dup(self._fd)
        done = self.root
        for part in folders:
            done = os.path.join(done, part)
            try:
                inner = _enter(at, part, 0o755, done)
            finally:
                os.close(at)
            at = inner
        return at, name


def _enter(parent: int, name: str, mode: int, shown: str) -> int:
    """Open a folder below an open one; make it when it is missing. Raises VerbError for a link or a file."""
    try:
        os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:
        pass
    else:
        os.chmod(name, mode, dir_fd=parent)
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise VerbError(f"{shown} is no folder, or is a link, which is not followed") from error
        raise


def _link(folder: int, name: str, target: str, status: os.stat_result | None) -> bool:
    """Make a link; whether it was missing or different. `status` is that of what exists."""
    if status is not None and stat.S_ISLNK(status.st_mode) and os.readlink(name, dir_fd=folder) == target:
        return False
    _refuse_folder(status)
    temp = _temp_name(name)
    os.symlink(target, temp, dir_fd=folder)
    os.replace(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
    return True


def _file(folder: int, name: str, source: int, size: int, mode: int, status: os.stat_result | None) -> bool:
    """Write a file or change its mode; whether that was needed. `status` is that of what exists."""
    if status is not None and stat.S_ISREG(status.st_mode) and status.st_size == size and _same(folder, name, source):
        if stat.S_IMODE(status.st_mode) == mode or status.st_uid != os.geteuid():
            return False
        os.chmod(name, mode, dir_fd=folder)
        return True
    _refuse_folder(status)
    temp = _temp_name(name)
    fd = os.open(temp, _NEW, 0o600, dir_fd=folder)
    try:
        for piece in pieces_of(source):
            write_all(fd, piece)
        os.fchmod(fd, mode)
        os.fsync(fd)
        os.replace(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(temp, dir_fd=folder)
        raise
    finally:
        os.close(fd)
    return True


def _same(folder: int, name: str, source: int) -> bool:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except PermissionError:
        return False  # replacing a file needs rights on the folder only
    try:
        return all(piece == os.pread(fd, len(piece), at * PIECE) for at, piece in enumerate(pieces_of(source)))
    finally:
        os.close(fd)


def _refuse_folder(status: os.stat_result | None) -> None:
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, "is a folder; a file cannot replace it")


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _temp_name(name: str) -> str:
    return f".{name[:40]}.director-{os.urandom(6).hex()}"

"""Writes files of nodes below a folder of the submitter: as that user, and never anywhere else.

The work is done in a child process that has become the user for good. Every folder on the way below the
destination is opened by its name in the one before, following no link, so that neither the names that came from
a node nor links that lie there already lead out of it. Files come as open descriptors and are replaced as a whole.
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
from director.transfer.file_kinds import refuse_special
from director.transfer.manifests import Row, leads_out, placed

log = logging.getLogger(__name__)

PATIENCE = 300.0  # seconds the child may take for one batch
PIECE = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Landed:
    """What became of the rows of one node.

    Attributes:
        paths: the destinations of files and links.
        left_out: what was not written, with the reason.
        changed: whether anything was not as it is now.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.left_out: list[str] = []
        self.changed = False


def land(rows: Sequence[Row], folder: str, node: str, owner: tuple[int, int], path_of: Callable[[str], str]) -> Landed:
    """Write `rows`, which `manifests.check` has passed, below `folder`/`node`.

    Args:
        owner: uid and gid of the user who writes; only root can be another one than itself.
        path_of: where a content is that only this process can read.

    Raises:
        VerbError: it cannot be written, with the reason.
    """
    if os.geteuid() not in (0, owner[0]):
        raise VerbError(f"the server may not write files of the user {owner[0]}; run it as root, or as that user")
    landed = Landed()
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
            landed.changed |= answer["changed"]
            landed.paths += answer["paths"]
            landed.left_out += answer["left_out"]
        channel.send({"end": True})
        _answer(channel)
    return landed


def _batches(work: Sequence[tuple[str, Row]]) -> Iterator[Sequence[tuple[str, Row]]]:
    """At least one, so that the folder is made for a source that is empty."""
    yield work[:FDS_LIMIT]
    for start in range(FDS_LIMIT, len(work), FDS_LIMIT):
        yield work[start : start + FDS_LIMIT]


def _answer(channel: Channel) -> dict[str, Any]:
    try:
        frame = channel.receive()
    except OSError as error:
        raise VerbError(f"the files could not be written within {PATIENCE:g} s") from error
    if frame is None:
        raise VerbError("the process that writes the files died")
    if "error" in frame[0]:
        raise VerbError(frame[0]["error"])
    return frame[0]


@contextmanager
def _writer(root: str, owner: tuple[int, int]) -> Iterator[Channel]:
    """A child that has become the user; it is gone afterwards."""
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
    """Never returns."""
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
    """Be this user for good, with their groups; as anybody but root this changes nothing."""
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
    place = None
    while (frame := channel.receive()) is not None:
        header, _, fds = frame
        try:
            if place is None:
                place = Place(root)
            if "end" in header:
                place.sync()
                channel.send({"ended": True})
                return
            channel.send(place.write(header["rows"], fds))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else f"{root}: "
            channel.send({"error": f"{where}{error.strerror}"})
        except VerbError as error:
            channel.send({"error": str(error)})
        finally:
            for fd in fds:
                os.close(fd)


class Place:
    """A folder that is written to, and nothing outside of it.

    Args:
        root: made when it is missing; links on the way to it are the user's own affair, its last part is no link.
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
        """Put these in place, one descriptor for each file; `{"changed", "paths", "left_out"}`."""
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
        """Make what was written durable, in one go."""
        os.fsync(self._fd)

    def _shown(self, place: str) -> str:
        return os.path.join(self.root, place)

    def _folder_of(self, place: str) -> tuple[int, str]:
        """An open folder, made where it is missing, and the last name."""
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
    """Open a folder in an open one, made when it is missing; a link in its place is refused."""
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
            raise VerbError(f"{shown}: is no folder, or a link, which is not followed here") from error
        raise


def _link(folder: int, name: str, target: str, status: os.stat_result | None) -> bool:
    """Whether the link had to be made; `status` is of what is there."""
    if status is not None and stat.S_ISLNK(status.st_mode) and os.readlink(name, dir_fd=folder) == target:
        return False
    _refuse_folder(status)
    temp = _temp_name(name)
    os.symlink(target, temp, dir_fd=folder)
    os.replace(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
    return True


def _file(folder: int, name: str, source: int, size: int, mode: int, status: os.stat_result | None) -> bool:
    """Whether the file had to be written, or its mode changed; `status` is of what is there."""
    if status is not None and stat.S_ISREG(status.st_mode) and status.st_size == size and _same(folder, name, source):
        if stat.S_IMODE(status.st_mode) == mode or status.st_uid != os.geteuid():
            return False
        os.chmod(name, mode, dir_fd=folder)
        return True
    _refuse_folder(status)
    temp = _temp_name(name)
    fd = os.open(temp, _NEW, 0o600, dir_fd=folder)
    try:
        for piece in _pieces(source):
            view = memoryview(piece)
            while view:
                view = view[os.write(fd, view) :]
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
        return False  # replacing it needs rights on the folder only
    try:
        return all(piece == os.pread(fd, len(piece), at * PIECE) for at, piece in enumerate(_pieces(source)))
    finally:
        os.close(fd)


def _pieces(fd: int) -> Iterator[bytes]:
    offset = 0
    while piece := os.pread(fd, PIECE, offset):
        yield piece
        offset += len(piece)


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

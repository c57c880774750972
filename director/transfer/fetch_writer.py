"""Writes fetched files below a folder of the submitter, with that user's rights, and never outside of the folder.

A child process does it after it has given up all other rights. It writes by way of `safe_write` and follows no link
below the destination, so that neither names that a node sent nor links that exist there lead out of it. It gets files
as open descriptors and replaces each file as a whole.
"""

from __future__ import annotations

import logging
import os
import pwd
import select
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from director.errors import VerbError
from director.protocol.framing import FDS_LIMIT, Channel
from director.transfer.blobs import PIECE, pieces_of
from director.transfer.file_batch import Batch
from director.transfer.file_kinds import refuse_special
from director.transfer.manifests import Row, leads_out, placed
from director.transfer.safe_write import Folder, Walk, naming, settle

log = logging.getLogger(__name__)

PATIENCE = 300.0  # the most seconds that the child may take for one batch


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
    rows: Sequence[Row], folder: str, node: str, owner: tuple[int, int], path_of: Callable[[str], str], written: Written
) -> Iterator[bool]:  # fmt: skip
    """Write `rows`, which `manifests.check` has accepted, below `folder`/`node`, some at a time.

    Args:
        owner: uid and gid of the user to write as; another one than this process's needs root.
        path_of: the path of a blob by its digest.
        written: gets what was written.

    Returns:
        True each time that it waits for the process that writes.

    Raises:
        VerbError: a file cannot be read or written, with the reason.
    """
    if os.geteuid() not in (0, owner[0]):
        raise VerbError(f"the server cannot write files as the user {owner[0]}; run it as root, or as that user")
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
            yield from _until_answered(channel)
            answer = _answer(channel)
            written.changed |= answer["changed"]
            written.paths += answer["paths"]
            written.left_out += answer["left_out"]
        channel.send({"end": True})
        yield from _until_answered(channel)
        _answer(channel)


def _until_answered(channel: Channel) -> Iterator[bool]:
    until = time.monotonic() + PATIENCE
    while not channel.pending and not select.select([channel], [], [], 0)[0]:
        if time.monotonic() > until:
            raise VerbError(f"the files could not be written within {PATIENCE:g} s")
        yield True


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
        except (OSError, VerbError) as error:
            if writer is not None:
                writer.drop()
            where = (
                f"{getattr(error, 'filename', None) or root}: {error.strerror}" if isinstance(error, OSError) else ""
            )
            channel.send({"error": where or str(error)})
        finally:
            for fd in fds:
                os.close(fd)
    if writer is not None:  # the server has died
        writer.drop()


class FolderWriter:
    """Writes below one folder and never outside of it.

    Args:
        root: made when it is missing. Links on the way to it are followed as in `safe_write`, it must be none itself.

    Raises:
        VerbError: the folder cannot be made or opened.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._made: set[str] = set()
        self._walk = Walk(made=self._made.add)
        self._batch = Batch()
        self._walk.pass_no_link(os.path.dirname(root))
        self._walk.open(root)

    def write(self, rows: Sequence[tuple[str, Row]], fds: Sequence[int]) -> dict[str, Any]:
        """Write these rows, with one descriptor for each file; `{"changed", "paths", "left_out"}`.

        Raises VerbError with the path that cannot be written.
        """
        left = iter(fds)
        answer: dict[str, Any] = {"changed": False, "paths": [], "left_out": []}
        for place, row in rows:
            kind, path = row[0], os.path.join(self.root, place)
            if kind == "link" and leads_out(place, row[5]):
                answer["left_out"].append(f"{place} is a link that leads out of the node's folder")
            elif kind == "dir":
                self._make_folder(path, row[2])
            else:
                answer["changed"] |= self._put(path, row, next(left) if kind == "file" else -1)
                answer["paths"].append(path)
        return answer

    def sync(self) -> None:
        """Give the files that wait their names, and flush these to disk. Raises VerbError."""
        with naming(self.root):
            self._batch.finish()
        self._walk.sync()

    def drop(self) -> None:
        """Remove what has no name yet."""
        self._batch.__exit__()

    def _make_folder(self, path: str, mode: int) -> None:
        """A folder that is there already keeps its mode."""
        folder = self._walk.open(path)
        if path in self._made:
            with naming(path):
                folder.settle(-1, -1, mode | 0o700)

    def _put(self, path: str, row: Row, source: int) -> bool:
        """Write a file or link where it differs; whether it did."""
        above, name = os.path.split(path)
        folder = self._walk.open(above)
        with naming(path):
            status = folder.status(name)
            refuse_special(path, status)
            if status is not None and stat.S_ISDIR(status.st_mode):
                raise VerbError(f"{path}: is a folder; a file cannot replace it")
            if row[0] == "link":
                if status is not None and stat.S_ISLNK(status.st_mode) and folder.target(name) == row[5]:
                    return False
                folder.link(name, row[5], -1, -1)
                return True
            if status is not None and stat.S_ISREG(status.st_mode) and status.st_size == row[3]:
                changed = _kept(folder, name, source, row[2])
                if changed is not None:
                    return changed
            if self._batch.is_full:
                self._batch.commit()
            new = self._batch.begin(self._batch.hold(above, folder), name, -1, -1, row[2])
            for piece in pieces_of(source):
                new.write(piece)
            self._batch.end(new)
        return True


def _kept(folder: Folder, name: str, source: int, mode: int) -> bool | None:
    """Set the mode of a file that holds the content; whether it was another, None when the content differs."""
    try:
        fd = folder.read(name)
    except PermissionError:
        return None  # replacing a file needs rights on the folder only
    try:
        if not all(piece == os.pread(fd, len(piece), at * PIECE) for at, piece in enumerate(pieces_of(source))):
            return None
        return os.fstat(fd).st_uid == os.geteuid() and settle(fd, -1, -1, mode)
    finally:
        os.close(fd)

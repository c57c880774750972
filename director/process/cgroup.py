"""The client's cgroup (v2): a process that a task starts cannot leave it, whatever it does to hide.

    PARENT/NAME/tasks   the client, and so every process of its tasks
               /loose   what `--no-block` started, and its descendants
               /task-PID  a task with many processes, or one that signals did not end (`bounds.py`)

`PARENT` is the cgroup in which the client was started. It costs a step nothing: a process starts in the cgroup of its
parent. Without a cgroup v2 tree that may be written the client runs as usual, and its next start finds leftovers by
their marker only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Iterator

from director.runtime.durable import write_private

log = logging.getLogger(__name__)

TASKS, LOOSE = "tasks", "loose"
DELEGATED = "trusted.delegate"  # which only root can read
SELF = "0"  # as a pid in cgroup.procs: the writing process


class ClientCgroup:
    """The cgroup of this process and its tasks; there is one, as a process is in one cgroup.

    A `path` begins at the root of the tree, as in /proc/self/cgroup; a `folder` is where it is mounted.
    """

    def __init__(self) -> None:
        self._name = ""
        self._note = ""
        self._noted = ""  # the path in the note
        self._former = ""  # the same, "" when the note was copied from another state folder
        self._folder = ""  # of NAME while this process is in it

    def open(self, note: str, name: str) -> None:
        """Read which cgroup an earlier client had.

        Args:
            note: the file with its path, in the state folder: a restart may come from another cgroup.
            name: unique to the state folder; a copied note has another name, whose client may be running.
        """
        self._note, self._name, self._noted = note, name, ""
        with contextlib.suppress(OSError), open(note, encoding="utf-8", errors="surrogateescape") as file:
            self._noted = file.read().strip()
        self._former = self._noted if os.path.basename(self._noted) == name else ""

    def left(self) -> set[int]:
        """Processes that an earlier client and its tasks left in its cgroup, without this one."""
        try:
            folder = _mounted(self._former) if self._former else ""
        except OSError:
            return set()
        return members(folder) - members(os.path.join(folder, LOOSE)) - {os.getpid()} if folder else set()

    def enter(self) -> bool:
        """Move this process into its cgroup, after leftovers have ended; False where that is not possible."""
        folder = ""
        try:
            path = self._path()
            folder = _mounted(path)
            for name in ("", TASKS, LOOSE):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(os.path.join(folder, name))
            if path != self._former:
                self._claim(path, folder)
            write(os.path.join(folder, TASKS), "cgroup.procs", SELF)
        except OSError as error:
            log.debug("no cgroup of its own: %s", error)
            _remove(folder)
            return False
        self._folder = folder
        return True

    def offer(self, user: str) -> None:
        """Give the cgroup of this process to a user that it is about to become, if systemd has delegated it to root."""
        with contextlib.suppress(OSError):
            folder = _mounted(_own())
            if os.getxattr(folder, DELEGATED) == b"1":
                for name in ("", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
                    shutil.chown(os.path.join(folder, name), user)

    def _path(self) -> str:
        parts = _own().split("/")
        if self._name in parts:  # started by a task of an earlier client
            parts = parts[: parts.index(self._name)]
        parent = "/".join(parts).rstrip("/")
        return f"{parent}/{self._name}"

    def _claim(self, path: str, folder: str) -> None:
        """Write the note for the next start. Raises OSError."""
        if members(os.path.join(folder, TASKS)):  # after `_give_up`: some of them must not be ended
            raise OSError(f"{folder} is in use")
        write_private(self._note, os.fsencode(path + "\n"))
        if self._noted:
            with contextlib.suppress(OSError):
                _remove(_mounted(self._noted))

    def separate(self, name: str) -> str:
        """Make a cgroup beside `tasks`; its folder, "" where that is not possible."""
        folder = os.path.join(self._folder, name)
        if self._folder:
            with contextlib.suppress(OSError):
                os.mkdir(folder)
                return folder
        return ""

    def delegate(self, controller: str) -> None:
        """Have the kernel keep bounds of `controller` in the cgroups beside `tasks`, where it may be used.

        Only in this cgroup, which has no process itself: done in the parent it would keep systemd from starting the
        client there again while a leftover of an earlier one lives.
        """
        with contextlib.suppress(OSError):
            write(self._folder, "cgroup.subtree_control", f"+{controller}")

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Processes started in this `with` are not among the tasks; no switch inside, as all threads move."""
        self._change(LOOSE)
        try:
            yield
        finally:
            self._change(TASKS)

    def _change(self, name: str) -> None:
        if not self._folder:
            return
        folder = os.path.join(self._folder, name)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
            write(folder, "cgroup.procs", SELF)
        except OSError as error:
            log.debug("cgroup %s: %s", folder, error)
            self._give_up()

    def _give_up(self) -> None:
        """Tasks and `--no-block` processes now share a cgroup, so the next start must not end what is in it."""
        self._folder = ""
        with contextlib.suppress(OSError):
            os.unlink(self._note)

    def leave(self) -> None:
        """Move back to the cgroup in which the client was started and remove the empty ones."""
        folder, self._folder = self._folder, ""
        if not folder:
            return
        try:
            write(os.path.dirname(folder), "cgroup.procs", SELF)
        except OSError as error:
            log.debug("cgroup %s stays: %s", folder, error)
        _remove(folder)


CGROUP = ClientCgroup()


def members(folder: str) -> set[int]:
    """Processes in the cgroup and those below it; none when it is gone."""
    found: set[int] = set()
    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError), open(os.path.join(path, "cgroup.procs"), "rb") as file:
            found.update(map(int, file.read().split()))
    return found - {0}  # a process of another pid namespace; for kill(2) 0 is this process's own group


def write(folder: str, name: str, text: str) -> None:
    """Write a control file of a cgroup. Raises OSError."""
    fd = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _remove(folder: str) -> None:
    """Remove the empty cgroups; one with processes in it stays."""
    if not folder:
        return
    names = next(os.walk(folder), ("", [], []))[1]
    for name in (*names, ""):
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(folder, name))


def _own() -> str:
    """The path of this process. Raises OSError."""
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            path = line.rstrip("\n").removeprefix("0::")
            if line.startswith("0::/") and not path.startswith("/..") and not path.endswith(" (deleted)"):
                return path
    raise OSError("this process is in no visible cgroup")


def _mounted(path: str, mounts: str = "/proc/self/mountinfo") -> str:
    """The folder of a path, wherever cgroup v2 is mounted and its parent may be written. Raises OSError."""
    with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields, _, kind = line.partition(" - ")
            if not kind.startswith("cgroup2 "):
                continue
            root, point = (_plain(word) for word in fields.split(" ")[3:5])
            root = root.rstrip("/")
            folder = point + path[len(root) :]
            if path.startswith(root + "/") and os.access(os.path.dirname(folder), os.W_OK):
                return folder
    raise OSError(f"no cgroup v2 that may be written has {path}")


def _plain(word: str) -> str:
    """A word of mountinfo with its escapes replaced, `\\040` by a space."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)

"""The client's place in the cgroup v2 tree: whatever its tasks start stays in it, however well it hides.

    PARENT/NAME/tasks   the client, and so every process of its tasks
               /loose   what `--no-block` started, and all that comes of it
               /task-PID  a task with many processes, or one that signals did not end (`task_cgroup.py`)

`PARENT` is where the client was started. A step costs nothing, as a process begins in the cgroup of the one
that starts it. Where there is no such tree, or it may not be written, all is as without it: the next start
then knows what is left by its marker only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator

from director.runtime.durable import write_private

log = logging.getLogger(__name__)

TASKS, LOOSE = "tasks", "loose"


class Place:
    """Where this process and its tasks are; there is one, as a process is in one cgroup.

    A path begins at the root of the tree, as in /proc/self/cgroup; a folder is where it is mounted.
    """

    def __init__(self) -> None:
        self._name = ""
        self._note = ""
        self._noted = ""  # the path in the note
        self._former = ""  # the same, where it is of an earlier client of this state folder and not of a copy's
        self._folder = ""  # ours while we are in it

    def open(self, note: str, name: str) -> None:
        """Read where an earlier client was.

        Args:
            note: the file that remembers it, in the state folder: a restart may be from another cgroup.
            name: of the state folder and no other; a copied note names a client that may be running.
        """
        self._note, self._name, self._noted = note, name, ""
        with contextlib.suppress(OSError), open(note, encoding="utf-8", errors="surrogateescape") as file:
            self._noted = file.read().strip()
        self._former = self._noted if os.path.basename(self._noted) == name else ""

    def left(self) -> set[int]:
        """Processes that are still where an earlier client and its tasks were, without this one."""
        try:
            folder = _mounted(self._former) if self._former else ""
        except OSError:
            return set()
        return members(folder) - members(os.path.join(folder, LOOSE)) - {os.getpid()} if folder else set()

    def enter(self) -> bool:
        """Move there, after what was left has ended; False, and nothing is changed, where that cannot be."""
        folder = ""
        try:
            path = self._path()
            folder = _mounted(path)
            for name in ("", TASKS, LOOSE):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(os.path.join(folder, name))
            if path != self._former:
                self._take(path, folder)
            _move(os.path.join(folder, TASKS))
        except OSError as error:
            log.debug("no cgroup of its own: %s", error)
            _remove(folder)
            return False
        self._folder = folder
        return True

    def _path(self) -> str:
        parts = _own().split("/")
        if self._name in parts:  # started by a task of an earlier client
            parts = parts[: parts.index(self._name)]
        parent = "/".join(parts).rstrip("/")
        return f"{parent}/{self._name}"

    def _take(self, path: str, folder: str) -> None:
        """Have the next start look here; raises OSError."""
        if members(os.path.join(folder, TASKS)):  # given up by `_give_up`: some there may not be ended
            raise OSError(f"{folder} is in use")
        write_private(self._note, os.fsencode(path + "\n"))
        if self._noted:
            with contextlib.suppress(OSError):
                _remove(_mounted(self._noted))

    def separate(self, name: str) -> str:
        """The folder of a new cgroup beside `tasks`, "" where there can be none."""
        folder = os.path.join(self._folder, name)
        if self._folder:
            with contextlib.suppress(OSError):
                os.mkdir(folder)
                return folder
        return ""

    def delegate(self, controller: str) -> None:
        """Have the cgroups beside `tasks` keep bounds of `controller`, where whoever started the client allows it.

        Only here, where no process is: to do the same in the parent would keep systemd from starting the client
        there again while something of an earlier one lives.
        """
        with contextlib.suppress(OSError), open(os.path.join(self._folder, "cgroup.subtree_control"), "w") as file:
            file.write(f"+{controller}")

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """What starts in this `with` is not among the tasks; for one turn of the hub, as threads move too."""
        if not self._folder:
            yield
            return
        self._change(LOOSE)
        try:
            yield
        finally:
            if self._folder:
                self._change(TASKS)

    def _change(self, name: str) -> None:
        folder = os.path.join(self._folder, name)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
            _move(folder)
        except OSError as error:
            log.debug("cgroup %s: %s", folder, error)
            self._give_up()

    def _give_up(self) -> None:
        """From now on tasks and what must be spared are in one cgroup, so no start may go by it."""
        self._folder = ""
        with contextlib.suppress(OSError):
            os.unlink(self._note)

    def leave(self) -> None:
        """Go back to where the client was started and take away what is empty."""
        folder, self._folder = self._folder, ""
        if not folder:
            return
        try:
            _move(os.path.dirname(folder))
        except OSError as error:
            log.debug("cgroup %s stays: %s", folder, error)
        _remove(folder)


PLACE = Place()


def members(folder: str) -> set[int]:
    """Processes in the cgroup and those below it; none when it is gone."""
    found: set[int] = set()
    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError), open(os.path.join(path, "cgroup.procs"), "rb") as file:
            found.update(map(int, file.read().split()))
    return found - {0}  # one of another pid namespace, and as a pid of kill(2) this very process's group


def _move(folder: str) -> None:
    """Move this process with its threads; raises OSError."""
    fd = os.open(os.path.join(folder, "cgroup.procs"), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)


def _remove(folder: str) -> None:
    """Take away what is empty; a cgroup with processes in it cannot be."""
    if not folder:
        return
    names = next(os.walk(folder), ("", [], []))[1]
    for name in (*names, ""):
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(folder, name))


def _own() -> str:
    """This process's path; raises OSError."""
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            path = line.rstrip("\n").removeprefix("0::")
            if line.startswith("0::/") and not path.startswith("/..") and not path.endswith(" (deleted)"):
                return path
    raise OSError("this process is in no cgroup that it can see")


def _mounted(path: str, mounts: str = "/proc/self/mountinfo") -> str:
    """The folder of a path, in a folder that may be written, wherever cgroup v2 is mounted; raises OSError."""
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
    """A word of mountinfo without its escapes, `\\040` for a space."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)

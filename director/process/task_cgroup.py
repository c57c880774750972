"""A cgroup (v2) of one task: made only for a task that has many processes or that signals do not end.

It lies beside the client's own `tasks`, as `task-PID`. What is moved there stays there with all that it starts, so the
kernel can freeze and kill all of it at once. Where the client's cgroup has the controllers `pids` and `memory`, the
kernel also keeps the task's bounds. Where there is no cgroup that may be written, every function here does nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection

from director.process.cgroup import PLACE, members
from director.runtime.greenlets import Pace


class TaskCgroup:
    """The cgroup of one task, made when the first process is moved to it.

    Args:
        pid: of the task's first process.
        pids: how many processes and threads it may have, 0 for any number.
        memory: bytes it may take, 0 for any number.
    """

    def __init__(self, pid: int, pids: int = 0, memory: int = 0) -> None:
        self._name = f"task-{pid}"
        self._bounds = {"pids": pids, "memory": memory}
        self._folder = ""
        self._refused = False  # it cannot be made

    def members(self) -> set[int]:
        """The processes in it."""
        return members(self._folder) if self._folder else set()

    def take(self, pids: Collection[int]) -> bool:
        """Move processes there, in slices; whether all of them, and so all that they start, are in it."""
        if not self._folder and not self._make():
            return False
        inside, pace = self.members(), Pace()
        outside = [pid for pid in pids if pid not in inside]
        for pid in outside:
            with contextlib.suppress(OSError):  # it has ended
                self._write("cgroup.procs", str(pid))
            pace.pause()
        return not outside

    def _make(self) -> bool:
        folder = "" if self._refused else PLACE.separate(self._name)
        self._refused = not folder
        if folder:
            self._folder = folder
            for controller, bound in self._bounds.items():
                if bound:
                    PLACE.delegate(controller)
                    with contextlib.suppress(OSError):  # the controller is not ours to use
                        self._write(f"{controller}.max", str(bound))
        return bool(folder)

    def _write(self, name: str, text: str) -> None:
        fd = os.open(os.path.join(self._folder, name), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def freeze(self) -> None:
        """Nothing in it runs from now on; frozen processes can be killed."""
        if self._folder:
            with contextlib.suppress(OSError):
                self._write("cgroup.freeze", "1")

    def kill(self) -> None:
        """SIGKILL to all in it at once, where the kernel can (Linux 5.14)."""
        if self._folder:
            with contextlib.suppress(OSError):
                self._write("cgroup.kill", "1")

    def exceeded(self) -> str:
        """The bound that the kernel has kept: `pids` (a fork failed), `memory` (a process was killed), else ""."""
        for controller, event in (("pids", b"max"), ("memory", b"oom_kill")) if self._folder else ():
            with contextlib.suppress(OSError), open(os.path.join(self._folder, f"{controller}.events"), "rb") as file:
                counts = dict(line.split() for line in file.read().splitlines())
                if int(counts.get(event, 0)):
                    return controller
        return ""

    def remove(self) -> None:
        """Take it away; it stays while a process is in it, until the client's next start."""
        if self._folder:
            with contextlib.suppress(OSError):
                os.rmdir(self._folder)

"""Bounds of a task: how many processes and how much memory it may have, and the cgroup in which the kernel keeps them.

A task gets a cgroup only when it has many processes, or when signals do not end it.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Collection
from pathlib import Path

from director.process.cgroup import CGROUP, members, write
from director.runtime.greenlets import Pace

MOST_PIDS = 4096
MANY = 64  # processes beyond which a task gets a cgroup of its own
FLAGS = {"pids": "--task-pids", "memory": "--task-memory"}
PAGE = os.sysconf("SC_PAGE_SIZE")


def default_pids(limits: Collection[str] = ("/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max")) -> int:
    """A quarter of the processes that this system allows, at most 4,096."""
    found = [MOST_PIDS * 4]
    for path in limits:
        with contextlib.suppress(OSError, ValueError):
            found.append(int(Path(path).read_text()))
    own = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if own != resource.RLIM_INFINITY and os.geteuid():
        found.append(own)
    return max(1, min(found) // 4)


def memory_of(pids: Collection[int]) -> int:
    """Bytes of memory of these processes alone: without files and shared memory."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/statm", "rb") as file:
            _, resident, shared = file.read().split()[:3]
            total += int(resident) - int(shared)
    return total * PAGE


def excess(name: str, bound: int) -> str:
    """The error of a task that exceeded a bound, in one line."""
    what = f"{bound} processes" if name == "pids" else f"{bound >> 20} MiB of memory"
    return f"it took more than {what} ({FLAGS[name]})"


class TaskCgroup:
    """The cgroup (v2) of one task, made when the first process is moved to it.

    It lies beside the client's own `tasks`, as `task-PID`. A process that is moved there cannot leave it, nor can what
    it starts, so the kernel can freeze and kill all of it at once. Where the client's cgroup has the controllers `pids`
    and `memory`, the kernel also keeps the task's bounds. Where no cgroup may be written, every method does nothing.

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

    def move(self, pids: Collection[int]) -> bool:
        """Move processes there, in slices; whether all of them were there already, and so all that they start."""
        if not self._folder and not self._make():
            return False
        inside, pace = self.members(), Pace()
        outside = [pid for pid in pids if pid not in inside]
        for pid in outside:
            self._write("cgroup.procs", str(pid))
            pace.pause()
        return not outside

    def _make(self) -> bool:
        self._folder = "" if self._refused else CGROUP.separate(self._name)
        self._refused = not self._folder
        for controller, bound in self._bounds.items():
            if bound and self._folder:
                CGROUP.delegate(controller)
                self._write(f"{controller}.max", str(bound))
        return bool(self._folder)

    def _write(self, name: str, text: str) -> None:
        """Does nothing without a cgroup, for a process that has ended, and where the kernel or its owner forbids it."""
        with contextlib.suppress(OSError):
            if self._folder:
                write(self._folder, name, text)

    def freeze(self) -> None:
        """Stop all processes in it; they can still be killed."""
        self._write("cgroup.freeze", "1")

    def kill(self) -> None:
        """SIGKILL to all in it at once (Linux 5.14)."""
        self._write("cgroup.kill", "1")

    def exceeded(self) -> str:
        """The bound that the kernel enforced: `pids` (a fork failed), `memory` (a process was killed), else ""."""
        for controller, event in (("pids", b"max"), ("memory", b"oom_kill")) if self._folder else ():
            with contextlib.suppress(OSError), open(os.path.join(self._folder, f"{controller}.events"), "rb") as file:
                counts = dict(line.split() for line in file.read().splitlines())
                if int(counts.get(event, 0)):
                    return controller
        return ""

    def remove(self) -> None:
        """Remove it; with a process in it, it stays until the client's next start."""
        if self._folder:
            with contextlib.suppress(OSError):
                os.rmdir(self._folder)

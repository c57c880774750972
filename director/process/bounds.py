"""Bounds of a task: how many processes and how much memory it may have, and the error when it has more."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Collection
from pathlib import Path

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

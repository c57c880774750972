"""Describes the machine, and reads CPU seconds, wake-ups and proportional memory of processes from /proc."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PACKAGES = ("gevent", "pyzmq", "ConfigArgParse", "ujson", "psutil", "Jinja2", "PyYAML")


def describe() -> dict[str, str]:
    """The machine, its kernel and all versions."""
    import zmq

    from director import __version__

    found = {
        "director": __version__,
        "python": platform.python_version(),
        "libzmq": zmq.zmq_version(),
        "kernel": f"{platform.system()} {platform.release()}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "") if os.path.exists("/etc/os-release") else "",
        "cpu": _cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
    }
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _cpu() -> str:
    for entry in Path("/proc/cpuinfo").read_text().splitlines():
        if entry.startswith("model name"):
            return entry.partition(":")[2].strip()
    return platform.machine()


def tree(pid: int) -> list[int]:
    """The process and all its descendants that live."""
    found, ahead = [], [pid]
    while ahead:
        here = ahead.pop()
        found.append(here)
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{here}/task").iterdir():
                with contextlib.suppress(OSError):
                    ahead += map(int, (thread / "children").read_text().split())
    return found


def runs(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pss(pids: Iterable[int]) -> float:
    """Proportional memory of these processes together, in MB (1,000,000 bytes)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if entry.startswith("Pss:"):
                    total += int(entry.split()[1]) * 1024
    return total / 1e6


def cpu(pids: Iterable[int]) -> float:
    """CPU seconds, user and system, that these processes have used so far."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def wakeups(pid: int) -> int:
    """The voluntary context switches of the threads of a process so far."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for entry in (thread / "status").read_text().splitlines():
                if entry.startswith("voluntary_ctxt_switches"):
                    total += int(entry.split()[1])
    return total


def warn_when_busy() -> None:
    """Warn on stderr when other work takes the cores, as the figures mean nothing then."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load > 0.5 * cores:
        sys.stderr.write(f"bench: the load is {load:.1f} on {cores} cores before anything was started; expect noise\n")

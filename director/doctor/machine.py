"""What the server and a client have in common: the state folder, its disk, descriptors, processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator

from director.doctor.findings import FAILED, Finding, rated, share, size, unless
from director.runtime.paths import SYSTEM_STATE, USER_STATE

LITTLE_DISK, NO_DISK = 1 << 30, 64 << 20  # bytes that are free


def state_folder(setting: str | None, role: str) -> str:
    """The state folder of `server` or `client` on this machine; "" when there is none."""
    for state in [setting] if setting else [SYSTEM_STATE, os.path.expanduser(USER_STATE)]:
        folder = os.path.join(os.path.abspath(state), role)
        if os.path.isdir(folder):
            return folder
    return ""


def folder(part: str, path: str) -> Iterator[Finding]:
    """The state folder: who may read it, and whether the disk has room."""
    about = os.stat(path)
    mode = stat.S_IMODE(about.st_mode)
    yield unless(
        mode & 0o077, part, "state folder", f"{path}, mode {mode:04o}",
        f"others may read keys and results: chmod 700 {path}", FAILED,
    )  # fmt: skip
    disk = shutil.disk_usage(path)
    yield rated(
        part, "disk", -disk.free, -LITTLE_DISK, -NO_DISK, f"{size(disk.free)} of {size(disk.total)} free",
        f"make room on the disk of {path}, or shorten --history",
    )  # fmt: skip
    inodes = os.statvfs(path)
    if inodes.f_files:
        yield rated(
            part, "inodes", 1 - inodes.f_favail / inodes.f_files, 0.95, 0.999,
            f"{inodes.f_favail:,} of {inodes.f_files:,} free", f"remove small files from the disk of {path}",
        )  # fmt: skip


def secret_file(part: str, check: str, path: str) -> Finding:
    """A file that nobody else may read."""
    try:
        about = os.stat(path)
    except FileNotFoundError:
        return Finding(part, check, FAILED, f"{path} is missing", "start director once; it makes the key")
    except OSError as error:
        return Finding(part, check, FAILED, f"{path}: {error.strerror}", "run the doctor as root")
    mode = stat.S_IMODE(about.st_mode)
    return unless(
        mode & 0o077, part, check, f"{path}, mode {mode:04o}", f"others may read it: chmod 600 {path}", FAILED
    )


def holder(path: str) -> str:
    """The process that holds a state folder, as `pid 12 on web-1`; "" when none does, or it cannot be told."""
    try:
        lock = os.open(os.path.join(path, "lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.read(lock, 300).decode(errors="replace").strip() or "another process"
    finally:
        os.close(lock)
    return ""


def descriptors(part: str, pid: int) -> Iterator[Finding]:
    """The open descriptors of a process; nothing when they may not be counted."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        count = len(os.listdir(f"/proc/{pid}/fd"))
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("Max open files"))
        yield open_files(part, count, int(line.split()[3]))


def open_files(part: str, count: int, limit: int) -> Finding:
    """How many descriptors are open of those allowed."""
    remedy = "raise the limit (LimitNOFILE= in the unit, ulimit -n)"
    return rated(part, "descriptors", count / limit, 0.8, 0.97, share(count, limit), remedy)


def processes() -> Iterator[Finding]:
    """How many processes and threads the machine has of those it allows."""
    with contextlib.suppress(OSError, ValueError):
        with open("/proc/loadavg", encoding="ascii") as file:
            count = int(file.read().split()[3].partition("/")[2])
        limits = []
        for name in ("pid_max", "threads-max"):
            with open(f"/proc/sys/kernel/{name}", encoding="ascii") as file:
                limits.append(int(file.read()))
        remedy = "end processes, or raise kernel.pid_max"
        yield rated("machine", "processes", count / min(limits), 0.7, 0.95, share(count, min(limits)), remedy)


def load() -> Finding:
    """The load of the last five minutes for each core; a hint, never a failure."""
    cores = len(os.sched_getaffinity(0))
    five = os.getloadavg()[1]
    verdict = five > 4 * cores
    return unless(
        verdict, "machine", "load", f"{five:.1f} on {share(cores, 0)} cores", "see what the cores are busy with"
    )

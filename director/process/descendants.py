"""Finds the descendants of each task: the client is their subreaper, so orphans become its children.

A descendant of a task is below its leader or, when its parents have ended, a child of the client. So the list of the
client's own children, one read from /proc, proves that nothing is left: each pid in it is a running leader, spared
(`--no-block`, other code), or an orphan. An orphan's task is found by session, by marker or, where a program cleared
its environment, by its start time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable

import gevent

from director.process.spawn import DETACHED, GRACE, MARKER
from director.process.termination import end
from director.runtime.greenlets import Pace

PR_SET_CHILD_SUBREAPER = 36
PAGE, LONGEST_PID = 4096, 12  # bytes of one read of the list of children, and of a pid in it
TICKS = os.sysconf("SC_CLK_TCK")


class Leader:
    """The first process of a task."""

    __slots__ = ("pid", "tick", "token")

    def __init__(self, pid: int, token: bytes) -> None:
        self.pid = pid
        self.token = token
        self.tick = time.clock_gettime(time.CLOCK_BOOTTIME)


class Descendants:
    """The client's children; there is one list of them in the kernel, so there is one object."""

    def __init__(self) -> None:
        self.running: dict[int, Leader] = {}
        self.ending: dict[int, Leader] = {}  # their leader may have ended, other processes may be alive
        self.spared: dict[int, Leader | None] = {}  # waited for, never ended
        self.foreign: set[int] = set()  # started by other code: neither waited for nor ended
        self.ambiguous: set[int] = set()  # orphans that may belong to several tasks
        self.adopts: bool | None = None
        self._list = -1

    def open(self) -> bool:
        """Become the subreaper, once, in the hub's thread; False where the kernel cannot."""
        if self.adopts is None:
            self.adopts = _prctl(PR_SET_CHILD_SUBREAPER, 1) and self._open_list()
        return self.adopts

    def _open_list(self) -> bool:
        try:
            self._list = os.open(f"/proc/self/task/{threading.get_native_id()}/children", os.O_RDONLY)
        except OSError:
            return False
        self.foreign.update(self._children())
        return True

    def _children(self) -> list[int]:
        data = piece = os.pread(self._list, PAGE, 0)
        while len(piece) > PAGE - LONGEST_PID:  # the kernel gives whole pids, a page of them at a time
            piece = os.pread(self._list, PAGE, len(data))
            data += piece
        return [int(word) for word in data.split()]

    def _is_orphan(self, pid: int) -> bool:
        return pid not in self.running and pid not in self.spared and pid not in self.foreign

    def orphans(self) -> list[int]:
        """Children that are neither running leaders nor spared, dead or alive."""
        return [pid for pid in self._children() if self._is_orphan(pid)]

    def leftovers(self, leader: Leader) -> list[int]:
        """Living orphans of the task of `leader`, found in slices."""
        if not self.adopts:
            return sorted(scan({leader.token}, {leader.pid}))
        while orphans := self.orphans():
            found, reaped, pace = [], False, Pace()
            for pid in filter(self._is_orphan, orphans):  # during a pause a new step may have got its number
                if self._reaped(pid):
                    reaped = True
                elif self._belongs(pid, leader):
                    found.append(pid)
                pace.pause()
            if found or not reaped:
                return found
            # children of those that ended may have become orphans after the list was read
        return []

    def _reaped(self, pid: int) -> bool:
        try:
            return os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            return True

    def _belongs(self, pid: int, leader: Leader) -> bool:
        """Whether the orphan `pid` is of the task of `leader`, which has ended."""
        marked = self._is_marked(pid, leader)
        if marked is not None:
            return marked
        born = _born(pid)
        own = _may_have_begun(leader, born) or pid in self.ambiguous
        others = [*self._tasks(), *filter(None, self.spared.values())]
        if own and any(_may_have_begun(other, born) for other in others if other is not leader):
            self.ambiguous.add(pid)  # it is ended with the last of them
            return False
        return own

    def _is_marked(self, pid: int, leader: Leader) -> bool | None:
        """The same by session and marker only, None without them; spares those of `--no-block`."""
        session = _session(pid)
        if session == leader.pid or session in self.running or session in self.ending:
            return session == leader.pid
        markers = environment(pid)
        if session in self.spared or DETACHED in markers:
            self.spared[pid] = None
            return False
        token = markers.get(MARKER)
        if token is not None and token == leader.token:
            return True
        return False if token in {other.token for other in self._tasks()} else None

    def _tasks(self) -> list[Leader]:
        return [*self.running.values(), *self.ending.values()]

    def detached_ended(self, leader: Leader) -> None:
        """A `--no-block` process ended: spare its orphans without session or marker too."""
        for pid in self.orphans() if self.adopts else ():
            if self._is_marked(pid, leader) is not False and _may_have_begun(leader, _born(pid)):
                self.spared[pid] = None
        if self._reaped(leader.pid):
            self.spared.pop(leader.pid, None)

    def reap(self) -> None:
        """Wait, in slices, for all children that have ended and are not leaders of running tasks; cheap."""
        pace = Pace()
        for pid in [*self.spared, *(self.orphans() if self.adopts else ())]:
            if pid not in self.running and self._reaped(pid):
                self.spared.pop(pid, None)
            pace.pause()
        if not self.adopts:
            return
        children = set(self._children())
        self.foreign &= children
        self.ambiguous &= children


DESCENDANTS = Descendants()
become_subreaper, reap_adopted = DESCENDANTS.open, DESCENDANTS.reap


def end_leftovers(
    tokens: Iterable[str],
    prefix: str = "",
    grace: float = GRACE,
    inside: Callable[[], Collection[int]] | None = None,
) -> int:
    """End the processes of tasks of the client's earlier run.

    Args:
        tokens: of the tasks; ends each process with one of them as marker, with its descendants.
        prefix: the same for every marker that begins so, without what `--no-block` started.
        grace: seconds between SIGTERM and SIGKILL.
        inside: gives processes that surely belong to tasks, marked or not.

    Returns:
        How many processes there were.
    """
    wanted = {os.fsencode(token) for token in tokens}
    seen: set[int] = set()

    def alive() -> set[int]:
        found = scan(wanted, set(), os.fsencode(prefix)) if wanted or prefix else set()
        found |= _not_detached(inside()) if inside is not None else set()
        seen.update(found)
        return found

    end(alive, grace, gevent.sleep)
    return len(seen)


def tree(roots: Iterable[int]) -> list[int]:
    """`roots` and their descendants now, looked up in slices."""
    found, pace = list(roots), Pace()
    known = set(found)
    for pid in found:
        fresh = [child for child in _children_of(pid) if child not in known]
        known.update(fresh)
        found.extend(fresh)
        pace.pause()
    return found


def scan(tokens: Collection[bytes], sessions: Collection[int], prefix: bytes = b"") -> set[int]:
    """Processes of this machine with one of the markers or sessions, all in their sessions, and all descendants."""

    def is_wanted(markers: dict[bytes, bytes]) -> bool:
        marker = markers.get(MARKER, b"")
        return marker in tokens or (bool(prefix) and marker.startswith(prefix) and DETACHED not in markers)

    own = os.getpid()
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != own]
    found = {pid for pid in pids if is_wanted(environment(pid))}
    wanted = {_session(pid) for pid in found} | set(sessions)
    wanted -= {_session(own), 0}
    found.update(pid for pid in pids if _session(pid) in wanted)
    return {pid for pid in tree(found) if pid != own and _alive(pid)}


def _not_detached(pids: Collection[int]) -> set[int]:
    """Those that are alive and not of `--no-block` by marker and session."""
    detached = {pid for pid in pids if DETACHED in environment(pid)}
    sessions = {_session(pid) for pid in detached} - {0}
    return {pid for pid in pids if pid not in detached and _session(pid) not in sessions and _alive(pid)}


def environment(pid: int) -> dict[bytes, bytes]:
    """The markers in the environment with which `pid` was started; empty when it cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            lines = file.read().split(b"\0")
    except OSError:
        return {}
    pairs = (line.partition(b"=") for line in lines if line.startswith(b"DIRECTOR_"))
    return {name: value for name, _, value in pairs if name in (MARKER, DETACHED)}


def _children_of(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # it ended meanwhile
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found.extend(int(word) for word in file.read().split())
    return found


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat after the name, the state first; empty for no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _alive(pid: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[0] not in (b"Z", b"X")


def _born(pid: int) -> int:
    """Its start time in clock ticks since boot."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def _may_have_begun(leader: Leader, born: int) -> bool:
    return int(leader.tick * TICKS) - 1 <= born


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return 0


def _prctl(option: int, value: int) -> bool:
    try:
        return ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0
    except (OSError, AttributeError):
        return False

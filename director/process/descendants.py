"""Who belongs to a task, and its end: orphans come to the client as their subreaper and are told apart here.

Every descendant of a task stays below its leader or, when its parents have ended, becomes a child of the
client. So the list of the client's own children, one read from /proc, proves that nothing is left: each
pid in it is a running leader, one that is spared (`--no-block`, other code's), or an orphan to be judged by
session, marker and, where a program cleared its environment, by when it began.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable

import gevent

from director.process.spec import DETACHED, GRACE, MARKER
from director.process.termination import end
from director.runtime.greenlets import Pace

PR_SET_CHILD_SUBREAPER = 36
PAGE, LONGEST_PID = 4096, 12  # bytes of the list of children that the kernel gives at a time, and of a pid in it
TICKS = os.sysconf("SC_CLK_TCK")


class Leader:
    """What is remembered of a running task's first process."""

    __slots__ = ("pid", "tick", "token")

    def __init__(self, pid: int, token: bytes) -> None:
        self.pid = pid
        self.token = token
        self.tick = time.clock_gettime(time.CLOCK_BOOTTIME)


class Descendants:
    """The client's children; there is one, as the kernel has one such list for the process."""

    def __init__(self) -> None:
        self.running: dict[int, Leader] = {}
        self.ending: dict[int, Leader] = {}  # the leader may be gone, something of its task may not
        self.spared: dict[int, Leader | None] = {}  # ours to wait for, never ended
        self.foreign: set[int] = set()  # of other code: neither waited for nor ended
        self.unclaimed: set[int] = set()  # orphans that could be of more than one task
        self.adopts: bool | None = None
        self._list = -1

    def open(self) -> bool:
        """Become the one to whom orphans come; False where the kernel cannot."""
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

    def _is_unknown(self, pid: int) -> bool:
        return pid not in self.running and pid not in self.spared and pid not in self.foreign

    def unknown(self) -> list[int]:
        """Children that are neither running leaders nor spared: orphans, dead or alive."""
        return [pid for pid in self._children() if self._is_unknown(pid)]

    def strays(self, leader: Leader) -> list[int]:
        """What is alive of the task of `leader`; where there are many orphans, in slices."""
        if not self.adopts:
            return sorted(scan({leader.token}, {leader.pid}))
        while orphans := self.unknown():
            found, reaped, pace = [], False, Pace()
            for pid in filter(self._is_unknown, orphans):  # in a pause its number may have gone to a new step
                if self._reaped(pid):
                    reaped = True
                elif self._judge(pid, leader):
                    found.append(pid)
                pace.pause()
            if found or not reaped:
                return found
            # the children of those that ended may have come after the list was read
        return []

    def _reaped(self, pid: int) -> bool:
        try:
            return os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            return True

    def _judge(self, pid: int, leader: Leader) -> bool:
        """Whether the orphan `pid` is of the task of `leader`, which has ended."""
        told = self._told(pid, leader)
        if told is not None:
            return told
        born = _born(pid)
        own = _may_have_begun(leader, born) or pid in self.unclaimed
        others = [*self._tasks(), *filter(None, self.spared.values())]
        if own and any(_may_have_begun(other, born) for other in others if other is not leader):
            self.unclaimed.add(pid)  # the last of them that ends takes it
            return False
        return own

    def _told(self, pid: int, leader: Leader) -> bool | None:
        """What session and marker say of an orphan, None when nothing; spares those of `--no-block`."""
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

    def loosed(self, leader: Leader) -> None:
        """A `--no-block` process ended: what it leaves behind without a mark is spared too."""
        for pid in self.unknown() if self.adopts else ():
            if self._told(pid, leader) is not False and _may_have_begun(leader, _born(pid)):
                self.spared[pid] = None
        if self._reaped(leader.pid):
            self.spared.pop(leader.pid, None)

    def reap(self) -> None:
        """Wait, in slices, for every child that has ended and is not a running task's leader."""
        pace = Pace()
        for pid in [*self.spared, *(self.unknown() if self.adopts else ())]:
            if pid not in self.running and self._reaped(pid):
                self.spared.pop(pid, None)
            pace.pause()
        if not self.adopts:
            return
        children = set(self._children())
        self.foreign &= children
        self.unclaimed &= children


FAMILY = Descendants()


def become_subreaper() -> bool:
    """Have orphans come to this process (once, in the hub's thread); False where the kernel cannot."""
    return FAMILY.open()


def reap_adopted() -> None:
    """Wait for adopted processes that have ended; cheap, to be called on a slow tick."""
    FAMILY.reap()


def spare(pid: int) -> None:
    """A child that other code has started and waits for: it is left alone."""
    FAMILY.foreign.add(pid)


def end_leftovers(
    tokens: Iterable[str],
    prefix: str = "",
    grace: float = GRACE,
    inside: Callable[[], Collection[int]] | None = None,
) -> int:
    """End what is alive of tasks of the client's earlier run; how many processes there were.

    Args:
        tokens: of the tasks; whatever has one as its marker is ended, with all that is below it.
        prefix: the same for every marker that begins so, but for what `--no-block` started.
        inside: names the processes where nothing but tasks was, marked or not.
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
    """`roots` and all that is below them now, looked up in slices."""
    found, pace = list(roots), Pace()
    known = set(found)
    for pid in found:
        fresh = [child for child in _children_of(pid) if child not in known]
        known.update(fresh)
        found.extend(fresh)
        pace.pause()
    return found


def scan(tokens: Collection[bytes], sessions: Collection[int], prefix: bytes = b"") -> set[int]:
    """Processes of this machine with one of the markers or sessions, and those in the same sessions."""

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
    """Those that live and are not of `--no-block`, as far as marker and session tell."""
    detached = {pid for pid in pids if DETACHED in environment(pid)}
    sessions = {_session(pid) for pid in detached} - {0}
    return {pid for pid in pids if pid not in detached and _session(pid) not in sessions and _alive(pid)}


def environment(pid: int) -> dict[bytes, bytes]:
    """Our markers in the environment with which `pid` was started; empty when it cannot be read."""
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
    """The fields of /proc/PID/stat behind the name, the state first; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _alive(pid: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[0] not in (b"Z", b"X")


def _born(pid: int) -> int:
    """Clock ticks since boot at which it began."""
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

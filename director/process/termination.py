"""The end of a task's processes: SIGTERM once, time to clean up, then SIGKILL to all, however fast they fork."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection
from typing import Any, Protocol

KILL_FOR = 5.0  # seconds of SIGKILL to the same processes after which they count as ones that cannot be ended
SHORTEST, LONGEST = 0.002, 0.05  # seconds between looks while processes end
ROUNDS = 20  # of stopping what is new; after so many what is known is killed, though there is more
STUBBORN = 2  # rounds after which signals alone do not seem to do

Alive = Callable[[], Collection[int]]


class Cgroup(Protocol):
    """What `kill` needs of a `TaskCgroup`."""

    def take(self, pids: Collection[int]) -> bool:
        """Move processes there."""

    def freeze(self) -> None:
        """Let nothing in it run."""

    def kill(self) -> None:
        """SIGKILL to all in it."""


def end(
    alive: Alive,
    grace: float,
    sleep: Callable[[float], Any],
    cgroup: Cgroup | None = None,
    hurry: Callable[[], bool] = lambda: False,
) -> bool:
    """SIGTERM to what `alive()` names now, after `grace` seconds SIGKILL to what it names then, until that is nobody.

    What starts within the grace gets no SIGTERM: it may be the clean-up of what did.

    Args:
        cgroup: where processes are moved that start others as fast as they are stopped.
        hurry: whether the grace is over before its time.

    Returns:
        False when something is alive after `KILL_FOR` seconds of SIGKILL.
    """
    kill_at = time.monotonic() + grace
    for pid in alive() if grace > 0 else ():
        send(pid, signal.SIGTERM)
        send(pid, signal.SIGCONT)  # one that is stopped would not hear the first
    pause = SHORTEST
    while alive():
        left = kill_at - time.monotonic()
        if left <= 0 or hurry():
            return kill(alive, sleep, cgroup)
        sleep(min(pause, left))
        pause = min(pause * 2, LONGEST)
    return True


def kill(alive: Alive, sleep: Callable[[float], Any], cgroup: Cgroup | None = None) -> bool:
    """Stop whole groups until nothing new appears, then SIGKILL; False when something lives `KILL_FOR` seconds later.

    A process that is killed before another one of its task can be replaced by that one, a stopped one cannot.
    """
    known: set[int] = set()
    rounds, pause, give_up = 0, SHORTEST, 0.0
    while pids := set(alive()):
        fresh = pids - known
        if fresh:
            rounds, give_up = rounds + 1, time.monotonic() + KILL_FOR
            _hold(fresh, cgroup if rounds > STUBBORN else None)
            known |= fresh
            if rounds <= ROUNDS:
                continue
        if time.monotonic() > give_up:
            return False
        if cgroup is not None:
            cgroup.kill()
        send_groups(pids, signal.SIGKILL)
        sleep(pause)
        pause = min(pause * 2, LONGEST)
    return True


def _hold(pids: Collection[int], cgroup: Cgroup | None) -> None:
    send_groups(pids, signal.SIGSTOP)
    if cgroup is not None:
        cgroup.take(pids)
        cgroup.freeze()


def send_groups(pids: Collection[int], number: int) -> None:
    """A signal to processes and to their whole groups: in a group nobody can fork between one and the next."""
    groups = set()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            groups.add(os.getpgid(pid))
    for group in groups - {0, os.getpgrp()}:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
    for pid in pids:
        send(pid, number)


def send(pid: int, number: int) -> None:
    """A signal to a process that may be gone or not ours to end."""
    # whoever may not be ended is still there at the end, and told
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)

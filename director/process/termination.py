"""Ends the processes of a task: SIGTERM once, a grace to clean up, then SIGKILL to all, however fast they fork."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection
from typing import Any

from director.process.bounds import TaskCgroup

KILL_FOR = 5.0  # seconds of SIGKILL in which none of them ends, after which they are given up
SHORTEST, LONGEST = 0.002, 0.05  # seconds between two checks while processes end
ROUNDS = 20  # of stopping new processes; after so many the known ones are killed, though there are new ones
STUBBORN = 2  # rounds of signals alone; later ones use a cgroup

Alive = Callable[[], Collection[int]]


def end(
    alive: Alive,
    grace: float,
    sleep: Callable[[float], Any],
    cgroup: TaskCgroup | None = None,
    hurry: Callable[[], bool] = lambda: False,
) -> bool:
    """SIGTERM to what `alive()` gives now, after the grace SIGKILL to what it gives then, until it gives nothing.

    Processes started within the grace get no SIGTERM: they may clean up.

    Args:
        alive: gives the pids that are to end.
        grace: seconds.
        sleep: takes seconds.
        cgroup: for processes that start others as fast as they are stopped.
        hurry: whether to end the grace early.

    Returns:
        False when some are alive and none has ended for `KILL_FOR` seconds of SIGKILL.
    """
    kill_at = time.monotonic() + grace
    for pid in alive() if grace > 0 else ():
        send(pid, signal.SIGTERM)
        send(pid, signal.SIGCONT)  # a stopped process does not handle the first
    pause = SHORTEST
    while alive():
        left = kill_at - time.monotonic()
        if left <= 0 or hurry():
            return kill(alive, sleep, cgroup)
        sleep(min(pause, left))
        pause = min(pause * 2, LONGEST)
    return True


def kill(alive: Alive, sleep: Callable[[float], Any], cgroup: TaskCgroup | None = None) -> bool:
    """Stop whole groups until no new process appears, then SIGKILL; False when none ends for `KILL_FOR` seconds.

    A process that is killed first can be replaced by another one of its task; a stopped one cannot.
    """
    known: set[int] = set()
    before: set[int] = set()
    rounds, pause, give_up = 0, SHORTEST, 0.0
    while pids := set(alive()):
        if pids != before:
            before, give_up = pids, time.monotonic() + KILL_FOR
        fresh = pids - known
        if fresh:
            rounds += 1
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


def _hold(pids: Collection[int], cgroup: TaskCgroup | None) -> None:
    send_groups(pids, signal.SIGSTOP)
    if cgroup is not None:
        cgroup.move(pids)
        cgroup.freeze()


def send_groups(pids: Collection[int], number: int) -> None:
    """A signal to processes and to their whole groups: a group gets it at once, so none of it can fork in between."""
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
    """A signal to a process that may be gone, or that this one may not signal: `end` finds it alive then."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)

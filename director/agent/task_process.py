"""The process of a task: how it is marked, how long it has after SIGTERM, and what its end means for the task."""

from __future__ import annotations

import hashlib
import os

from director import process
from director import states as st
from director.verbs.base import Outcome

GRACE = 5.0  # seconds from SIGTERM to SIGKILL


def outcome_of(result: process.Result, timeout: float, cancelled: str = "", quotes: bool = True) -> Outcome:
    """The outcome of a process that had `timeout` seconds.

    Args:
        cancelled: the reason if it was ended.
        quotes: whether the reason of a failure has the end of the standard error.
    """
    if result.exit_code == 0 and not (result.timed_out or result.cancelled or result.error):
        return Outcome(st.SUCCESS, 0, result.stdout, result.stderr, "", result.truncated)
    state, reason = st.FAILED, result.error or f"exit code {result.exit_code}"
    if result.timed_out:
        state, reason = st.TIMEOUT, f"not done within {timeout:g} s; its processes were ended"
    elif result.cancelled:
        reason = cancelled
    elif not result.error and result.stderr and quotes:
        reason = f"{reason}: {_last_line(result.stderr)}"
    if result.error and (result.timed_out or result.cancelled):
        reason = f"{reason} ({result.error})"
    return Outcome(state, result.exit_code, result.stdout, result.stderr, reason, result.truncated)


def task_token(place: str, instance: str, job: str, step: int) -> str:
    """The text that marks the processes of a task: its client, as two may run on one machine, its job and its step.

    `place` names where the state folder is, `instance` what is in it: an older copy of the folder that was put back
    has the same place, and does not know the tasks that run.
    """
    return f"{place}.{instance}.{job}.{step}"


def marker_place(state_dir: str) -> str:
    """A name for the place of a state folder, whatever is in it; another in each container and chroot."""
    parent, name = os.path.split(os.path.realpath(state_dir))
    at = os.stat(parent)
    return hashlib.sha256(f"{at.st_dev}:{at.st_ino}:{name}".encode(errors="surrogateescape")).hexdigest()[:16]


def _last_line(data: bytes) -> str:
    lines = data[-500:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else ""

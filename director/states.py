"""The states of tasks and jobs, and the only transitions there are.

A task's state is one ASCII letter inside the server, the ledger and the wire, so that the states of a
thousand steps on one node are a `bytearray` of a thousand bytes. `NAMES` gives the word people see.
"""

from __future__ import annotations

from collections.abc import Iterable

NONE = ord("-")  # this node has no task for this step
QUEUED = ord("q")
SENT = ord("s")
RUNNING = ord("r")
SUCCESS = ord("S")
CACHED = ord("C")
FAILED = ord("F")
TIMEOUT = ord("T")
CANCELLED = ord("X")
EXPIRED = ord("E")
LOST = ord("L")
SKIPPED = ord("K")

NAMES: dict[int, str] = {
    QUEUED: "queued",
    SENT: "sent",
    RUNNING: "running",
    SUCCESS: "success",
    CACHED: "cached",
    FAILED: "failed",
    TIMEOUT: "timeout",
    CANCELLED: "cancelled",
    EXPIRED: "expired",
    LOST: "lost",
    SKIPPED: "skipped",
}
CODES: dict[str, int] = {name: code for code, name in NAMES.items()}

OPEN = frozenset((QUEUED, SENT, RUNNING))
FINAL = frozenset(CODES.values()) - OPEN
GOOD = frozenset((SUCCESS, CACHED))
BAD = frozenset((FAILED, TIMEOUT, LOST))  # these stop what follows on the node and fail the job
IGNORABLE = frozenset((FAILED, TIMEOUT))  # but these do not with --ignore-errors

TRANSITIONS: dict[int, frozenset[int]] = {
    QUEUED: frozenset((SENT, RUNNING)) | FINAL,
    # back to queued: the node has said that it never had the task
    SENT: frozenset((QUEUED, RUNNING)) | FINAL - {EXPIRED},
    # back to queued: a new attempt begins
    RUNNING: frozenset((QUEUED,)) | FINAL - {EXPIRED},
}


def may_become(now: int, new: int) -> bool:
    """Whether a task in state `now` may enter `new`; final states admit nothing, not even themselves."""
    return new in TRANSITIONS.get(now, ())


JOB_QUEUED = "queued"
JOB_RUNNING = "running"
JOB_FAILED = "failed"
JOB_CANCELLED = "cancelled"
JOB_INCOMPLETE = "incomplete"
JOB_SUCCESS = "success"
JOB_FINAL = frozenset((JOB_FAILED, JOB_CANCELLED, JOB_INCOMPLETE, JOB_SUCCESS))


def job_verdict(failed: bool, cancelled: bool, expired: bool) -> str:
    """The final state of a job: the first that applies, failures that are ignored left out by the caller."""
    if failed:
        return JOB_FAILED
    if cancelled:
        return JOB_CANCELLED
    if expired:
        return JOB_INCOMPLETE
    return JOB_SUCCESS


COUNT_NAMES = tuple(NAMES.values())


def count(states: Iterable[int]) -> dict[str, int]:
    """Counts by name of the tasks in `states`, with `total`, in the order of the contract's `tasks`."""
    counts = dict.fromkeys(("total", *COUNT_NAMES), 0)
    for state in states:
        if state != NONE:
            counts[NAMES[state]] += 1
            counts["total"] += 1
    return counts

"""The states of tasks and jobs, and the transitions between them.

In the server, in the ledger and on the wire a task's state is one ASCII letter, so that the states of 1,000 steps on
a node are a `bytearray` of 1,000 bytes. `NAMES` has the words that users see.
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
BAD = frozenset((FAILED, TIMEOUT, LOST))  # the later steps on the node are skipped, and the job fails
IGNORABLE = frozenset((FAILED, TIMEOUT))  # except these with --ignore-errors

TRANSITIONS: dict[int, frozenset[int]] = {
    QUEUED: frozenset((SENT, RUNNING)) | FINAL,
    # to queued: the node reports that it never had the task
    SENT: frozenset((QUEUED, RUNNING)) | FINAL - {EXPIRED},
    # to queued: a new attempt begins
    RUNNING: frozenset((QUEUED,)) | FINAL - {EXPIRED},
}


def may_become(now: int, new: int) -> bool:
    """Whether a task may go from state `now` to `new`; from a final state to none, not even to the same."""
    return new in TRANSITIONS.get(now, ())


JOB_QUEUED = "queued"
JOB_RUNNING = "running"
JOB_FAILED = "failed"
JOB_CANCELLED = "cancelled"
JOB_INCOMPLETE = "incomplete"
JOB_SUCCESS = "success"
JOB_FINAL = frozenset((JOB_FAILED, JOB_CANCELLED, JOB_INCOMPLETE, JOB_SUCCESS))


def job_verdict(failed: bool, cancelled: bool, expired: bool) -> str:
    """The final state of a job: the first that applies.

    Args:
        failed: whether a task failed whose failure is not ignored.
        cancelled, expired: whether a task was.
    """
    if failed:
        return JOB_FAILED
    if cancelled:
        return JOB_CANCELLED
    if expired:
        return JOB_INCOMPLETE
    return JOB_SUCCESS


COUNT_NAMES = tuple(NAMES.values())


def count(states: Iterable[int]) -> dict[str, int]:
    """The number of tasks in each state by name, after `total`; in the order that `tasks` has in answers."""
    counts = dict.fromkeys(("total", *COUNT_NAMES), 0)
    for state in states:
        if state != NONE:
            counts[NAMES[state]] += 1
            counts["total"] += 1
    return counts

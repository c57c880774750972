"""The records of the process runner: what to run, how it ended, and the handle that ends it early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

MARKER = b"DIRECTOR_TASK"
DETACHED = b"DIRECTOR_DETACHED"
CAP = 1 << 20
GRACE = 5.0


@dataclass(slots=True)
class Spec:
    """One process to run.

    Attributes:
        argv: the program and its arguments. A name without `/` is looked up in `PATH` of `env`.
        env: the whole environment as bytes, made once and shared by many specs; it is never changed.
        cwd: absolute working folder, None for the client's own.
        uid, gid: numeric user and group, None for the client's. With only `uid` the group is the user's own.
        groups: supplementary groups; None keeps them, or takes those of the user when the user changes.
        stdin: what the process reads; empty is /dev/null.
        timeout: seconds until it is ended, without those in which this client was suspended; None for never.
        grace: seconds between SIGTERM and SIGKILL.
        cap: bytes kept of each output stream: the first half and the last half.
        pids: processes that it may have at a time, 0 for any number; with more it is ended.
        memory: bytes of memory that its processes may have together, 0 for any number; with more it is ended.
        token: value of `DIRECTOR_TASK` in the environment, unique to the task; identifies descendants.
        detach: start it in its own session with output to /dev/null, do not wait, never end it.
        on_start: called with the pid once it runs; must not switch to another greenlet.
    """

    argv: Sequence[str | bytes]
    env: dict[bytes, bytes]
    cwd: str | None = None
    uid: int | None = None
    gid: int | None = None
    groups: Sequence[int] | None = None
    stdin: bytes = b""
    timeout: float | None = None
    grace: float = GRACE
    cap: int = CAP
    pids: int = 0
    memory: int = 0
    token: str = ""
    detach: bool = False
    on_start: Callable[[int], object] | None = None


@dataclass(slots=True)
class Result:
    """How a process ended.

    Attributes:
        exit_code: its own, or 128+n after signal n; 127 for no such program, 126 when it could not be started.
        stdout, stderr: at most `cap` bytes each.
        truncated: bytes left out of the middle of both streams together.
        duration: seconds from the start until its last descendant had ended.
        timed_out, cancelled: why it was ended; both False when it ended by itself.
        suspended: seconds in which this client was suspended, which `timeout` does not count.
        error: one line when it could not start, exceeded a bound or left a descendant that could not be ended,
            else "".
        pid: of the process, 0 when it was not started.
    """

    exit_code: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    truncated: int = 0
    duration: float = 0.0
    timed_out: bool = False
    cancelled: bool = False
    suspended: float = 0.0
    error: str = ""
    pid: int = 0


@dataclass(slots=True, eq=False)
class Handle:
    """Given to `run` and, from another greenlet, to `cancel`, which may come first."""

    cancelled: bool = False
    wake: Callable[[], Any] | None = field(default=None, repr=False)

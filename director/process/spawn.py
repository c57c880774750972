"""What to run and how it ended; starts it by posix_spawn with its pipes, folder, user and marker, without blocking."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from director.process.cgroup import CGROUP
from director.process.exec_as import NOT_STARTED, StartFailure, failure, find
from director.process.output import Output

MARKER = b"DIRECTOR_TASK"
DETACHED = b"DIRECTOR_DETACHED"
CAP = 1 << 20
GRACE = 5.0
UMASK = 0o022
EXEC_AS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "exec_as.py")
# signals that the client ignores (SIGPIPE, SIGXFSZ, SIGHUP under nohup …) get their default action again
DEFAULT_SIGNALS = tuple(number for number in range(1, 32) if number not in (9, 19))

_numbers = itertools.count(1)


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
        mask: values that are masked in its output; the longest first.
        plain: streams (0 and 1) that are not masked.
        detach: start it in its own session with output to /dev/null, do not wait, never end it.
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
    mask: Sequence[bytes] = field(default=(), repr=False)
    plain: Sequence[int] = ()
    detach: bool = False


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
    """Given to `run` and, from another greenlet, to `cancel`, which may come first.

    Attributes:
        outputs: stdout and stderr so far, while the process runs and is not a quick one.
    """

    cancelled: bool = False
    outputs: tuple[Output, Output] | None = field(default=None, repr=False)
    wake: Callable[[], Any] | None = field(default=None, repr=False)


@dataclass(slots=True)
class Started:
    """A started process, and this client's ends of its pipes (-1 for none)."""

    pid: int
    token: bytes
    out: int = -1
    err: int = -1
    report: int = -1


def seal_descriptors() -> None:
    """Do not pass descriptors of the starting shell on to children; 0, 1 and 2 are open afterwards."""
    while (fd := os.open("/dev/null", os.O_RDWR)) <= 2:
        pass
    os.close(fd)
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2:
                os.set_inheritable(int(name), False)
        except OSError:  # the descriptor of the listing itself
            continue


def start(spec: Spec) -> Started:
    """Start `spec`; the caller closes the pipes and waits for the pid. Raises StartFailure."""
    token = os.fsencode(spec.token) or b"%d.%d" % (os.getpid(), next(_numbers))
    if spec.detach:
        with CGROUP.apart():
            return Started(_spawn(spec, {**spec.env, DETACHED: token}, []), token)
    env = {**spec.env, MARKER: token}
    fds: list[int] = []
    try:
        fds += os.pipe()
        fds += os.pipe()
        if _other_user(spec):
            fds += os.pipe()
        pid = _spawn(spec, env, fds[1::2])
    except BaseException as error:
        _close(fds)
        if isinstance(error, OSError):
            raise StartFailure(NOT_STARTED, f"cannot start: {error.strerror}") from None
        raise
    _close(fds[1::2])
    for fd in fds[::2]:
        os.set_blocking(fd, False)
    return Started(pid, token, *fds[::2])


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def _spawn(spec: Spec, env: dict[bytes, bytes], pipes: list[int]) -> int:
    """The pid; `pipes` become stdout, stderr and descriptor 3, without pipes the output is /dev/null."""
    null = _keep("/dev/null", os.O_RDWR)
    stdin = _stdin(spec.stdin) if spec.stdin else null
    dup = os.POSIX_SPAWN_DUP2
    actions = [(dup, stdin, 0)]
    actions += [(dup, fd, number) for number, fd in enumerate(pipes or (null, null), 1)]
    mask = os.umask(UMASK)
    try:
        if _other_user(spec):
            return _exec(os.fsencode(sys.executable), _launcher(spec), env, actions)
        if spec.cwd is None:
            return _exec_named(spec, env, actions)
        return _spawn_in(spec.cwd, spec, env, actions)
    finally:
        os.umask(mask)
        if stdin != null:
            os.close(stdin)


def _spawn_in(cwd: str, spec: Spec, env: dict[bytes, bytes], actions: list[tuple[int, int, int]]) -> int:
    """posix_spawn takes no folder, so the client changes to it and back without a switch of greenlets."""
    home = _keep(".", os.O_PATH | os.O_DIRECTORY)
    try:
        os.chdir(cwd)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StartFailure(NOT_STARTED, f"working folder {cwd}: {reason}") from None
    try:
        return _exec_named(spec, env, actions)
    finally:
        os.fchdir(home)


def _exec_named(spec: Spec, env: dict[bytes, bytes], actions: list[tuple[int, int, int]]) -> int:
    if not spec.argv:
        raise StartFailure(NOT_STARTED, "no program is named")
    path = os.fsencode(spec.argv[0])
    return _exec(find(path, env), spec.argv, env, actions)


def _exec(
    path: bytes, argv: Sequence[str | bytes], env: dict[bytes, bytes], actions: list[tuple[int, int, int]]
) -> int:
    try:
        return os.posix_spawn(
            path, [*argv], env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=DEFAULT_SIGNALS
        )
    except ValueError as error:
        raise StartFailure(NOT_STARTED, f"cannot start {os.fsdecode(path)}: {error}") from None
    except OSError as error:
        raise failure(os.fsdecode(path), error) from None


def _other_user(spec: Spec) -> bool:
    if spec.uid is None and spec.gid is None and spec.groups is None:
        return False
    if spec.uid not in (None, os.geteuid()) or spec.gid not in (None, os.getegid()):
        return True
    return spec.groups is not None and sorted(spec.groups) != sorted(os.getgroups())


def _launcher(spec: Spec) -> list[str | bytes]:
    """The command that changes the user and then becomes the program; see `exec_as.py`."""
    uid = "-" if spec.uid is None else str(spec.uid)
    gid = "-" if spec.gid is None else str(spec.gid)
    groups = "-" if spec.groups is None else ",".join(map(str, spec.groups))
    # descriptor 3 takes the reason of a failure, unless nothing waits for it
    report = "-" if spec.detach else "3"
    return [
        sys.executable,
        "-I",
        "-S",
        EXEC_AS,
        uid,
        gid,
        groups,
        spec.cwd or "",
        report,
        "--",
        *spec.argv,
    ]


def _stdin(data: bytes) -> int:
    """A descriptor in memory that reads `data`, so that nothing has to write it meanwhile."""
    fd = os.memfd_create("stdin")
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


@cache
def _keep(path: str, flags: int) -> int:
    """A descriptor that stays open: /dev/null or the client's own folder."""
    return os.open(path, flags)

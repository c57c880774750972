"""One task's process from start to result, in the greenlet that calls `run`.

A quick step costs one watcher on its pidfd and one timer: its output waits in the pipes and is read at the
end. Only a step that lasts longer than `QUICK` gets watchers on the pipes, so that no output can block it.
"""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import Any

import gevent

from director.process.bounds import MANY, excess, memory_of
from director.process.descendants import FAMILY, Leader, tree
from director.process.output import READ, Output, drain, read_some
from director.process.spawn import StartFailure, Supervisor, start
from director.process.spec import Handle, Result, Spec
from director.process.task_cgroup import TaskCgroup
from director.process.termination import end, send_groups
from director.process.watch import OFTEN, RARELY, WATCH

QUICK = 0.015  # seconds before a step counts as long
LINGER = 0.2  # seconds that what a step left behind has to end by itself
LOOK = 0.01  # seconds between looks at what lingers, and at a process where the kernel has no pidfd
SHOWN = 10  # pids of processes that cannot be ended
CANCELLED = 128 + signal.SIGTERM


def run(spec: Spec, handle: Handle | None = None) -> Result:
    """Run `spec` to its end, and everything it started with it; other greenlets go on meanwhile.

    What goes wrong with the process is in the result. A greenlet that is killed ends the process the
    same way and lets the exception out; killed again it does so by SIGKILL at once.
    """
    if handle is not None and handle.cancelled:
        return Result(CANCELLED, cancelled=True)
    FAMILY.open()
    began = time.monotonic()
    try:
        child = start(spec)
    except StartFailure as failure:
        return Result(failure.exit_code, duration=time.monotonic() - began, error=failure.reason)
    if spec.detach:
        return _let_go(spec, child, began)
    task = _Task(spec, child, handle, began)
    try:
        if spec.on_start is not None:
            spec.on_start(child.pid)
        task.wait()
        task.finish()
    except BaseException:
        task.abandon()
        raise
    finally:
        task.close()
    return task.result


def cancel(handle: Handle) -> None:
    """End the process that runs under `handle` as its timeout would; one that has ended keeps its result."""
    handle.cancelled = True
    if handle.wake is not None:
        gevent.get_hub().loop.run_callback(handle.wake)


def _let_go(spec: Spec, child: Supervisor, began: float) -> Result:
    """Only wait for the end of a `--no-block` process so that it does not stay a zombie."""
    leader = Leader(child.pid, child.token)
    FAMILY.spared[child.pid] = leader
    pidfd = _pidfd(child.pid)
    if pidfd >= 0:
        watcher = gevent.get_hub().loop.io(pidfd, 1)

        def ended() -> None:
            watcher.stop()
            watcher.close()
            os.close(pidfd)
            FAMILY.loosed(leader)

        watcher.start(ended)
    if spec.on_start is not None:
        spec.on_start(child.pid)
    return Result(pid=child.pid, duration=time.monotonic() - began)


def _pidfd(pid: int) -> int:
    """A descriptor that is readable once `pid` has ended, -1 where the kernel has none (before Linux 5.3)."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return -1


class _Sleep:
    """One greenlet's sleep, ended by a timer, a watcher or another greenlet; a late wake does nothing."""

    __slots__ = ("_asleep", "_hub", "_switch")

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self._switch = gevent.getcurrent().switch
        self._asleep = False

    def __call__(self, seconds: float | None) -> None:
        timer = None if seconds is None else self._hub.loop.timer(seconds if seconds > 0 else 0.0)
        self._asleep = True
        try:
            if timer is not None:
                timer.start(self.wake)
            self._hub.switch()
        finally:
            self._asleep = False
            if timer is not None:
                timer.stop()
                timer.close()

    def wake(self) -> None:
        """To be called in the hub."""
        if self._asleep:
            self._asleep = False
            self._switch()


class _Task:
    """A running process and what is gathered of it."""

    def __init__(self, spec: Spec, child: Supervisor, handle: Handle | None, began: float) -> None:
        self.spec = spec
        self.child = child
        self.began = began
        self.result = Result(pid=child.pid)
        self.leader = FAMILY.running[child.pid] = Leader(child.pid, child.token)
        self.ended = False  # the pidfd says so
        self.reaped = False
        self.outputs: tuple[Output, Output] | None = None  # made for long steps only
        self.watchers: list[Any] = []
        self.sleep = _Sleep()
        self.handle = handle
        if handle is not None:
            handle.wake = self.sleep.wake
        self.pidfd = _pidfd(child.pid)
        self.watcher: Any = None
        self.cgroup = TaskCgroup(child.pid, spec.pids, spec.memory)
        self.every = OFTEN if spec.memory else RARELY
        self.gathered = False  # it has moved into its cgroup as a whole
        self.excess = ""  # why it must end: which bound it did not keep
        self.closed = False
        self.suspended = WATCH.suspended

    @property
    def cancelled(self) -> bool:
        return self.handle is not None and self.handle.cancelled

    def wait(self) -> None:
        """Until the process has ended by itself, its time is over or it is cancelled; then it is ended."""
        limit = self.spec.timeout
        if self.pidfd >= 0:
            self.watcher = gevent.get_hub().loop.io(self.pidfd, 1)
            self.watcher.start(self._on_end)
            self.sleep(QUICK if limit is None or limit > QUICK else limit)
        if not self.ended:
            self._watch_output()
            self._wait_long(limit)

    def _on_end(self) -> None:
        self.watcher.stop()
        self.ended = True
        self.sleep.wake()

    def _has_ended(self) -> bool:
        """By the kernel, as the loop may not have come to its watcher yet."""
        if not self.ended:
            self.ended = os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return self.ended

    def _wait_long(self, limit: float | None) -> None:
        """What has ended when its time is over has not timed out, though nobody could see it in time."""
        WATCH.add(self, self.began, self.every)
        began = self.began - self.suspended
        while not self._has_ended():
            left = None if limit is None else began + limit - WATCH.clock()
            self.result.cancelled = self.cancelled
            self.result.timed_out = not (self.cancelled or self.excess) and left is not None and left <= 0
            if self.result.cancelled or self.result.timed_out or self.excess:
                self._end()
                return
            if self.pidfd < 0:
                left = LOOK if left is None else min(left, LOOK)
            self.sleep(left)

    def count(self) -> int:
        """How many processes it has, held to its bounds; for the watch."""
        pids = self.cgroup.members() if self.gathered else self._members()
        if self.closed:
            return 0
        memory = memory_of(pids) if self.spec.memory else 0
        if name := self._exceeds(len(pids), memory):
            self.excess = excess(name, getattr(self.spec, name))
            gevent.get_hub().loop.run_callback(self.sleep.wake)
        elif len(pids) > MANY or memory * 2 > self.spec.memory > 0:
            self.gathered = self.cgroup.take(pids)
        return len(pids)

    def _exceeds(self, pids: int, memory: int) -> str:
        if pids > self.spec.pids > 0:
            return "pids"
        return "memory" if memory > self.spec.memory > 0 else self.cgroup.exceeded()

    def _watch_output(self) -> None:
        if self.outputs is not None:
            return
        self.outputs = Output(self.spec.cap), Output(self.spec.cap)
        loop = gevent.get_hub().loop
        for fd, output in zip((self.child.out, self.child.err), self.outputs, strict=True):
            watcher = loop.io(fd, 1)
            self.watchers.append(watcher)
            watcher.start(partial(self._on_output, watcher, fd, output))

    @staticmethod
    def _on_output(watcher: Any, fd: int, output: Output) -> None:
        data = read_some(fd)
        if data:
            output.add(data)
        elif data is not None:
            watcher.stop()

    def finish(self) -> None:
        """After the end of the leader: what it left behind ends too, then the result is gathered."""
        self._reap()
        if FAMILY.strays(self.leader):
            WATCH.add(self, time.monotonic(), self.every)
            self._linger()
            self._end()
        self._gather()

    def _linger(self) -> None:
        """A short grace for what a step left behind, `cmd | tee log &` for one."""
        FAMILY.ending[self.child.pid] = self.leader
        self._watch_output()
        until = time.monotonic() + LINGER
        while time.monotonic() < until and not (self.cancelled or self.excess) and FAMILY.strays(self.leader):
            self.sleep(LOOK)

    def _reap(self) -> None:
        if self.reaped or not self._has_ended():
            return
        _, status, usage = os.wait4(self.child.pid, 0)
        self.reaped = True
        FAMILY.running.pop(self.child.pid, None)
        code = os.waitstatus_to_exitcode(status)
        self.result.exit_code = code if code >= 0 else 128 - code
        self.result.cpu = usage.ru_utime + usage.ru_stime

    def _members(self) -> list[int]:
        """Every living process of the task."""
        self._reap()
        strays = FAMILY.strays(self.leader)
        return tree(strays if self.reaped else [self.child.pid, *strays])

    def _end(self) -> None:
        FAMILY.ending[self.child.pid] = self.leader
        grace = 0.0 if self.excess else self.spec.grace
        if not end(self._members, grace, self.sleep, self.cgroup, lambda: bool(self.excess)):
            left = self._members()
            if left:
                self.result.error = f"cannot be ended: {', '.join(map(str, left[:SHOWN]))}"

    def _gather(self) -> None:
        result, child = self.result, self.child
        if not self.reaped:  # it could not be ended; the tick waits for it
            result.exit_code = 128 + signal.SIGKILL
        if self.outputs is None:
            self._gather_quick()
        else:
            out, err = self.outputs
            drain(child.out, out)
            drain(child.err, err)
            result.stdout, result.stderr = out.value(), err.value()
            result.truncated = out.left_out + err.left_out
        if result.exit_code and not self.excess and (name := self.cgroup.exceeded()):
            self.excess = excess(name, getattr(self.spec, name))
        result.error = result.error or self.excess
        if child.report >= 0:
            result.error = result.error or (read_some(child.report) or b"").decode("utf-8", "replace")
        result.duration = time.monotonic() - self.began
        result.suspended = WATCH.suspended - self.suspended

    def _gather_quick(self) -> None:
        """One read a pipe is all, where it fits the pipe and the cap."""
        out, err = read_some(self.child.out) or b"", read_some(self.child.err) or b""
        if len(out) < READ and len(err) < READ and max(len(out), len(err)) <= self.spec.cap:
            self.result.stdout, self.result.stderr = out, err
            return
        self.outputs = Output(self.spec.cap), Output(self.spec.cap)
        self.outputs[0].add(out)
        self.outputs[1].add(err)
        self._gather()

    def abandon(self) -> None:
        """End the process because its greenlet was killed; at once when it is killed again."""
        try:
            self._end()
        except BaseException:
            self.cgroup.kill()
            send_groups(self._members(), signal.SIGKILL)
            raise

    def close(self) -> None:
        """Give every descriptor and watcher back."""
        self.closed = True
        WATCH.remove(self)
        self.cgroup.remove()
        if self.handle is not None:
            self.handle.wake = None
        if self.watcher is not None:
            self.watcher.stop()
            self.watcher.close()
        for watcher in self.watchers:
            watcher.stop()
            watcher.close()
        for fd in (self.pidfd, self.child.out, self.child.err, self.child.report):
            if fd >= 0:
                os.close(fd)
        FAMILY.ending.pop(self.child.pid, None)
        if not self.reaped:
            FAMILY.running.pop(self.child.pid, None)
            FAMILY.spared[self.child.pid] = None

"""Runs one task's process from start to result, in the greenlet that calls `run`.

A quick step costs one watcher on its pidfd and one timer: its output stays in the pipes and is read at the end. Only a
step that lasts longer than `QUICK` gets watchers on the pipes, so that a full pipe cannot block it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import gevent

from director.process.bounds import MANY, TaskCgroup, excess, memory_of
from director.process.descendants import DESCENDANTS, Leader, tree
from director.process.masking import hide_stream
from director.process.output import READ, Output, drain, read_some
from director.process.spawn import Handle, Result, Spec, Started, StartFailure, start
from director.process.termination import end, send_groups
from director.process.watch import OFTEN, RARELY, WATCH

QUICK = 0.015  # seconds before a step counts as long
LINGER = 0.2  # seconds for leftovers of a step to end by themselves
POLL = 0.01  # seconds between two checks of leftovers, and of a process without a pidfd
SHOWN = 10  # pids in the error of processes that cannot be ended
CANCELLED = 128 + signal.SIGTERM


def run(spec: Spec, handle: Handle | None = None) -> Result:
    """Run `spec` until it and its descendants have ended; blocks this greenlet only.

    Failures of the process are in the result. Killing the greenlet ends the process as its timeout would and
    raises the exception; killing it again sends SIGKILL at once.
    """
    if handle is not None and handle.cancelled:
        return Result(CANCELLED, cancelled=True)
    DESCENDANTS.open()
    began = time.monotonic()
    try:
        child = start(spec)
    except StartFailure as failure:
        return Result(failure.exit_code, duration=time.monotonic() - began, error=failure.reason)
    if spec.detach:
        return _detach(spec, child, began)
    task = _Task(spec, child, handle, began)
    try:
        task.wait()
        task.finish()
    except BaseException:
        task.abandon()
        raise
    finally:
        task.close()
    return task.result


def cancel(handle: Handle) -> None:
    """End the process that runs under `handle` as its timeout would; after its end it keeps its result."""
    handle.cancelled = True
    if handle.wake is not None:
        gevent.get_hub().loop.run_callback(handle.wake)


def _detach(spec: Spec, child: Started, began: float) -> Result:
    """Do not wait for a `--no-block` process, but reap it at its end."""
    leader = Leader(child.pid, child.token)
    DESCENDANTS.spared[child.pid] = leader
    pidfd = _pidfd(child.pid)
    if pidfd >= 0:
        watcher = gevent.get_hub().loop.io(pidfd, 1)

        def ended() -> None:
            watcher.stop()
            watcher.close()
            os.close(pidfd)
            DESCENDANTS.detached_ended(leader)

        watcher.start(ended)
    return Result(pid=child.pid, duration=time.monotonic() - began)


def _pidfd(pid: int) -> int:
    """A descriptor that is readable once `pid` has ended, -1 where the kernel has none (before Linux 5.3)."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return -1


class _Sleep:
    """One greenlet's sleep, ended by a timer, a watcher or another greenlet; `wake` does nothing after its end."""

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
        """End the sleep; only to be called in the hub."""
        if self._asleep:
            self._asleep = False
            self._switch()


class _Task:
    """A running process and its result so far."""

    def __init__(self, spec: Spec, child: Started, handle: Handle | None, began: float) -> None:
        self.spec = spec
        self.child = child
        self.began = began
        self.result = Result(pid=child.pid)
        self.leader = DESCENDANTS.running[child.pid] = Leader(child.pid, child.token)
        self.ended = False  # by its pidfd
        self.reaped = False
        self.outputs: tuple[Output, Output] | None = None  # made for long steps only
        self.watchers: list[Any] = []
        self.sleep = _Sleep()
        self.handle = handle
        if handle is not None:
            handle.wake = self.sleep.wake
        self.pidfd = _pidfd(child.pid)
        self.cgroup = TaskCgroup(child.pid, spec.pids, spec.memory)
        self.every = OFTEN if spec.memory else RARELY
        self.gathered = False  # all of it is in its own cgroup
        self.excess = ""  # the bound that it exceeded, as an error
        self.closed = False
        self.suspended = WATCH.suspended

    @property
    def cancelled(self) -> bool:
        return self.handle is not None and self.handle.cancelled

    def wait(self) -> None:
        """Wait until the process has ended; end it when its time is over or it is cancelled."""
        limit = self.spec.timeout
        if self.pidfd >= 0:
            self._start_watcher(self.pidfd, self._on_end)
            self.sleep(QUICK if limit is None or limit > QUICK else limit)
        if not self.ended:
            self._watch_output()
            self._wait_long(limit)

    def _start_watcher(self, fd: int, callback: Callable[..., None], *arguments: Any) -> None:
        watcher = gevent.get_hub().loop.io(fd, 1)
        self.watchers.append(watcher)
        watcher.start(callback, watcher, *arguments)

    def _on_end(self, watcher: Any) -> None:
        watcher.stop()
        self.ended = True
        self.sleep.wake()

    def _has_ended(self) -> bool:
        """Asks the kernel, as the loop may not have called the watcher yet."""
        if not self.ended:
            self.ended = os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return self.ended

    def _wait_long(self, limit: float | None) -> None:
        """A process that has ended when its time is over has not timed out, even if that is only noticed now."""
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
                left = POLL if left is None else min(left, POLL)
            self.sleep(left)

    def count(self) -> int:
        """How many processes it has; ends it when it exceeds a bound. Called by the watch."""
        pids = self.cgroup.members() if self.gathered else self._members()
        if self.closed:
            return 0
        memory = memory_of(pids) if self.spec.memory else 0
        if name := self._exceeds(len(pids), memory):
            self.excess = excess(name, getattr(self.spec, name))
            gevent.get_hub().loop.run_callback(self.sleep.wake)
        elif len(pids) > MANY or memory * 2 > self.spec.memory > 0:
            self.gathered = self.cgroup.move(pids)
        return len(pids)

    def _exceeds(self, pids: int, memory: int) -> str:
        if pids > self.spec.pids > 0:
            return "pids"
        return "memory" if memory > self.spec.memory > 0 else self.cgroup.exceeded()

    def _mask(self, stream: int) -> Sequence[bytes]:
        return () if stream in self.spec.plain else self.spec.mask

    def _new_outputs(self) -> tuple[Output, Output]:
        return Output(self.spec.cap, self._mask(0)), Output(self.spec.cap, self._mask(1))

    def _watch_output(self) -> None:
        if self.outputs is not None:
            return
        self.outputs = self._new_outputs()
        if self.handle is not None:
            self.handle.outputs = self.outputs
        for fd, output in zip((self.child.out, self.child.err), self.outputs, strict=True):
            self._start_watcher(fd, self._on_output, fd, output)

    @staticmethod
    def _on_output(watcher: Any, fd: int, output: Output) -> None:
        data = read_some(fd)
        if data:
            output.add(data)
        elif data is not None:
            watcher.stop()

    def finish(self) -> None:
        """After the end of the leader: end its leftovers, then complete the result."""
        self._reap()
        if DESCENDANTS.leftovers(self.leader):
            WATCH.add(self, time.monotonic(), self.every)
            self._linger()
            self._end()
        self._gather()

    def _linger(self) -> None:
        """Give leftovers a short time to end by themselves, as in `cmd | tee log &`."""
        DESCENDANTS.ending[self.child.pid] = self.leader
        self._watch_output()
        until = time.monotonic() + LINGER
        while time.monotonic() < until and not (self.cancelled or self.excess) and DESCENDANTS.leftovers(self.leader):
            self.sleep(POLL)

    def _reap(self) -> None:
        if self.reaped or not self._has_ended():
            return
        _, status = os.waitpid(self.child.pid, 0)
        self.reaped = True
        DESCENDANTS.running.pop(self.child.pid, None)
        code = os.waitstatus_to_exitcode(status)
        self.result.exit_code = code if code >= 0 else 128 - code

    def _members(self) -> list[int]:
        """Every living process of the task."""
        self._reap()
        leftovers = DESCENDANTS.leftovers(self.leader)
        return tree(leftovers if self.reaped else [self.child.pid, *leftovers])

    def _end(self) -> None:
        DESCENDANTS.ending[self.child.pid] = self.leader
        grace = 0.0 if self.excess else self.spec.grace
        if not end(self._members, grace, self.sleep, self.cgroup, lambda: bool(self.excess)):
            left = self._members()
            if left:
                self.result.error = f"cannot be ended: {', '.join(map(str, left[:SHOWN]))}"

    def _gather(self) -> None:
        result, child = self.result, self.child
        if not self.reaped:  # it could not be ended; `reap_adopted` waits for it
            result.exit_code = 128 + signal.SIGKILL
        if self.outputs is None:
            self._gather_quick()
        else:
            out, err = self.outputs
            drain(child.out, out)
            drain(child.err, err)
            out.end()
            err.end()
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
        """One read of each pipe, enough when the output fits the pipe and the cap."""
        out, err = read_some(self.child.out) or b"", read_some(self.child.err) or b""
        if len(out) < READ and len(err) < READ and max(len(out), len(err)) <= self.spec.cap:
            of_out, of_err = self._mask(0), self._mask(1)
            self.result.stdout = hide_stream(out, of_out) if of_out else out
            self.result.stderr = hide_stream(err, of_err) if of_err else err
            return
        self.outputs = self._new_outputs()
        self.outputs[0].add(out)
        self.outputs[1].add(err)
        self._gather()

    def abandon(self) -> None:
        """End the process because its greenlet was killed; with SIGKILL when it is killed again."""
        try:
            self._end()
        except BaseException:
            self.cgroup.kill()
            send_groups(self._members(), signal.SIGKILL)
            raise

    def close(self) -> None:
        """Close all descriptors and watchers."""
        self.closed = True
        WATCH.remove(self)
        self.cgroup.remove()
        if self.handle is not None:
            self.handle.wake = self.handle.outputs = None
        for watcher in self.watchers:
            watcher.stop()
            watcher.close()
        for fd in (self.pidfd, self.child.out, self.child.err, self.child.report):
            if fd >= 0:
                os.close(fd)
        DESCENDANTS.ending.pop(self.child.pid, None)
        if not self.reaped:
            DESCENDANTS.running.pop(self.child.pid, None)
            DESCENDANTS.spared[self.child.pid] = None

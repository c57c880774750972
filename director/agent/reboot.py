"""REBOOT: waits until nothing else runs on the node, journals what it is about to do, and restarts the host.

The step stays `running`. The next client reads the journal (`agent/recovery.py`): when the boot id has changed, the
step succeeded. As nothing else ran, no other step is lost.
"""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gevent

from director import process
from director import states as st
from director.agent.job_runner import JobRunner, Running
from director.agent.step_runner import Interrupted, StepRunner
from director.verbs.base import Outcome

log = logging.getLogger(__name__)

POLL = 0.05  # seconds
TELL_SECONDS = 1.0  # that the server has to answer the heartbeat
COMMAND_SECONDS = 60.0  # that the command may take to begin the restart


class Rebooter:
    """Restarts the host for the steps of one client.

    Args:
        boot: id of this boot of the kernel.
        command: restarts the host; None for the init system's command.
    """

    def __init__(self, runner: StepRunner, boot: str, command: str | None, env: Mapping[bytes, bytes]) -> None:
        self._runner, self._session, self._journal = runner, runner.session, runner.journal
        self._boot = boot
        self._argv = shlex.split(command) if command else _default_command()
        self._env = dict(env)
        self._waiting: list[tuple[JobRunner, Running]] = []  # the steps that one restart serves
        self._begun = False

    def reboot(self, job: JobRunner, running: Running, delay: float, seconds: float) -> Outcome:
        """Restart the host within `seconds`, after `delay` seconds; returns only when the restart failed."""
        until = time.monotonic() + seconds
        with self._exclusive(job, running):
            gevent.sleep(delay)
            while self._begun:  # for another job
                gevent.sleep(POLL)
            self._begun = True
            try:
                self._note(until)
                return self._go_down(until)
            finally:
                self._begun = False

    @contextmanager
    def _exclusive(self, job: JobRunner, running: Running) -> Iterator[None]:
        """Start no other task and wait for those that run; undone when the step ends without a restart."""
        self._waiting.append((job, running))
        self._runner.slots.shut()
        try:
            while self._runner.busy(besides=[running for _, running in self._waiting]):
                gevent.sleep(POLL)
            yield
        except (gevent.Timeout, Interrupted, Exception):  # not GreenletExit, as the process ends then
            self._call_off(job, running)
            raise
        self._call_off(job, running)

    def _call_off(self, job: JobRunner, running: Running) -> None:
        self._waiting.remove((job, running))
        running.away = False
        self._runner.slots.reopen()
        self._session.away_until = 0.0
        self._journal.note(job.id, {"reboot": None})

    def _note(self, until: float) -> None:
        """Journal which boot is to end, for which steps, and until when the host must be back."""
        deadline = time.time() + until - time.monotonic()
        for job, running in self._waiting:
            note = {"step": running.step, "at": running.at, "boot": self._boot, "until": deadline}
            self._journal.note(job.id, {"reboot": note})
        self._journal.sync()
        for _, running in self._waiting:
            running.away = True
        self._session.away_until = until
        self._announce()

    def _announce(self) -> None:
        """Send the server how long this node may be away, and wait a moment for its answer."""
        sent = time.monotonic()
        self._session.heartbeat()
        while self._session.pulse.silence(now := time.monotonic()) > now - sent and now - sent < TELL_SECONDS:
            gevent.sleep(POLL)

    def _go_down(self, until: float) -> Outcome:
        log.warning("restarting the host: %s", shlex.join(self._argv))
        seconds = max(1.0, min(COMMAND_SECONDS, until - time.monotonic()))
        result = process.run(process.Spec(self._argv, self._env, "/", timeout=seconds))
        if result.exit_code:
            text = (result.error or result.stderr.decode("utf-8", "replace")).strip().splitlines()
            why = f": {text[-1][:200]}" if text else ""
            reason = f"{self._argv[0]} (--reboot-command) ended with exit code {result.exit_code}{why}"
            return Outcome(st.FAILED, result.exit_code, result.stdout, result.stderr, reason)
        while True:  # until the host goes down, or the step's time is over
            gevent.sleep(POLL)


def came_back(note: Mapping[str, Any], boot: str) -> tuple[int, str]:
    """State and reason of the REBOOT that wrote `note`, in the client that was started afterwards."""
    if note["boot"] == boot:
        return st.FAILED, "the client was started again, but the host was not"
    if time.time() > note["until"]:
        return st.TIMEOUT, "the host came back, but not within --timeout"
    return st.SUCCESS, ""


def _default_command() -> list[str]:
    if os.path.isdir("/run/systemd/system"):
        return ["systemctl", "reboot"]
    return ["/sbin/reboot"]

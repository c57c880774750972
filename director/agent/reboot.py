"""REBOOT: waits until the node is quiet, notes on disk what it is about to do, and restarts the host.

The step stays `running`; the client that is back reads the note (`agent/recovery.py`) and, under another boot
id, knows that it went well. As nothing else ran, nothing else is lost by it.
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
from director.agent.core import Agent, Interrupted
from director.agent.job_runner import JobRunner, Running
from director.verbs.base import Outcome

log = logging.getLogger(__name__)

LOOK = 0.05  # seconds between two looks at what still runs
TELL_SECONDS = 1.0
COMMAND_SECONDS = 60.0  # that the command may take to say that it has begun


class Rebooter:
    """Restarts the host for the steps of one client.

    Args:
        boot: id of the kernel's boot now.
        command: what restarts the host, None for the init system's own.
    """

    def __init__(self, agent: Agent, boot: str, command: str | None, env: Mapping[bytes, bytes]) -> None:
        self._agent = agent
        self._boot = boot
        self._argv = shlex.split(command) if command else _default_command()
        self._env = dict(env)
        self._asked: list[tuple[JobRunner, Running]] = []  # several jobs may ask: one restart serves them all
        self._begun = False

    def reboot(self, held: JobRunner, running: Running, delay: float, seconds: float) -> Outcome:
        """Restart the host; gives an outcome only when that failed. `seconds` are left for all of it."""
        until = time.monotonic() + seconds
        with self._quiet(held, running):
            gevent.sleep(delay)
            while self._begun:  # for another job
                gevent.sleep(LOOK)
            self._begun = True
            try:
                self._note(until)
                return self._go_down(until)
            finally:
                self._begun = False

    @contextmanager
    def _quiet(self, held: JobRunner, running: Running) -> Iterator[None]:
        """Hold new tasks back and wait for those that run; undone when it is not to be after all."""
        self._asked.append((held, running))
        self._agent.slots.shut()
        try:
            while self._agent.busy(besides=[running for _, running in self._asked]):
                gevent.sleep(LOOK)
            yield
        except (gevent.Timeout, Interrupted, Exception):  # but not the end of the process
            self._call_off(held, running)
            raise
        self._call_off(held, running)

    def _call_off(self, held: JobRunner, running: Running) -> None:
        self._asked.remove((held, running))
        running.away = False
        self._agent.slots.reopen()
        self._agent.away_until = 0.0
        self._agent.journal.note(held.job, {"reboot": None})

    def _note(self, until: float) -> None:
        """On disk before anything is done: which boot is to end, for which steps, and by when it must be back."""
        deadline = time.time() + until - time.monotonic()
        for held, running in self._asked:
            note = {"step": running.step, "at": running.at, "boot": self._boot, "until": deadline}
            self._agent.journal.note(held.job, {"reboot": note})
        self._agent.journal.sync()
        for _, running in self._asked:
            running.away = True
        self._agent.away_until = until
        self._tell()

    def _tell(self) -> None:
        """Let the server know how long we may be away, and give it a moment to hear it."""
        said = time.monotonic()
        self._agent.beat()
        while self._agent.pulse.silence(now := time.monotonic()) > now - said and now - said < TELL_SECONDS:
            gevent.sleep(LOOK)

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
            gevent.sleep(LOOK)


def came_back(note: Mapping[str, Any], boot: str) -> tuple[int, str]:
    """State and reason of the step that `note` is of, now that the client is back."""
    if note["boot"] == boot:
        return st.FAILED, "the client was started again, but the host was not"
    if time.time() > note["until"]:
        return st.TIMEOUT, "the host came back, but not within --timeout"
    return st.SUCCESS, ""


def _default_command() -> list[str]:
    if os.path.isdir("/run/systemd/system"):
        return ["systemctl", "reboot"]
    return ["/sbin/reboot"]

"""The parent's end of a worker process: starts it, exchanges frames with it, starts it again when it ends."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event

from director.errors import ProtocolError
from director.protocol.framing import WORKER_HEADER_LIMIT, Channel, encode
from director.runtime.greenlets import jitter, spawn
from director.runtime.liveness import Backoff
from director.runtime.logs import Seldom

log = logging.getLogger(__name__)

BOOT_DEATHS = 5  # ends in a row, before it was ever ready, after which the worker is given up


class Supervisor:
    """One supervised worker process.

    Args:
        name: for logs.
        module: run as `python -m module`.
        hello: JSON-able settings, the first frame.
        on_ready: called whenever a new process is ready.
        on_frame: called with each later frame.
        on_death: called when the process has ended, before its next start.
        fatal: called with the reason when starting it again would not help.
    """

    def __init__(
        self,
        name: str,
        module: str,
        hello: dict[str, Any],
        *,
        on_ready: Callable[[Supervisor], None],
        on_frame: Callable[[Supervisor, dict[str, Any], bytes], None],
        on_death: Callable[[Supervisor], None],
        fatal: Callable[[str], None],
    ) -> None:
        self.name = name
        self.ready = False
        self._module, self._hello = module, hello
        self._on_ready, self._on_frame, self._on_death, self._fatal = on_ready, on_frame, on_death, fatal
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._out: deque[tuple[bytes, bytes, list[int]]] = deque()  # encoded headers, bodies, descriptors
        self._wake = Event()
        self._stopping = False
        self._ever_ready = False
        self._seldom = Seldom(log)
        spawn(f"{name} supervisor", self._supervise, vital=True)

    @property
    def pid(self) -> int:
        """Process id of the current process, 0 without one."""
        return self._process.pid if self._process else 0

    def send(self, header: dict[str, Any] | str, body: bytes = b"", fds: list[int] | None = None) -> None:
        """Queue a frame; closes the descriptors once they are sent. Raises ProtocolError when it is too large."""
        try:
            head = encode(header, body, len(fds or ()), WORKER_HEADER_LIMIT)
        except ProtocolError:
            _close(fds or [])
            raise
        self._out.append((head, body, fds or []))
        self._wake.set()

    def stop(self, grace: float = 5.0) -> None:
        """End the process: send what is queued, close the channel, SIGKILL after `grace` seconds."""
        self._stopping = True
        process, channel = self._process, self._channel
        deadline = time.monotonic() + grace
        while self._out and channel is not None and time.monotonic() < deadline:
            gevent.sleep(0.005)
        if channel is not None:
            with contextlib.suppress(OSError):  # the process may have ended by itself
                channel.sock.shutdown(socket.SHUT_RDWR)
        if process is not None:
            _end(process, deadline - time.monotonic())

    def _supervise(self) -> None:
        backoff, deaths = Backoff(0.1, 10.0), 0
        while not self._stopping:
            started = time.monotonic()
            began = self._run_once()
            if self._stopping:
                return
            deaths = 0 if self._ever_ready or not began else deaths + 1
            if deaths >= BOOT_DEATHS:
                self._fatal(f"the {self.name} process ends at every start; see its messages above")
                return
            if time.monotonic() - started > 30:
                backoff.reset()
            gevent.sleep(jitter(backoff.next()))

    def _run_once(self) -> bool:
        """Start the process and serve it to its end; False when it could not be started."""
        try:
            process, channel = self._process, self._channel = self._begin()
        except OSError as error:
            self._seldom.warning("%s cannot be started: %s; trying again", self.name, error.strerror)
            return False
        self._out.clear()
        self._out.append((encode(self._hello), b"", []))
        writer = spawn(f"{self.name} writer", self._write, channel, vital=True)
        try:
            self._read(channel)
        finally:
            self.ready = False
            writer.kill()
            channel.close()
            _end(process, 2.0)
            if not self._stopping:
                log.warning("%s (pid %d) ended with %s; starting it again", self.name, process.pid, process.returncode)
            for _, _, fds in self._out:
                _close(fds)
            self._out.clear()
            self._on_death(self)
        return True

    def _begin(self) -> tuple[subprocess.Popen[bytes], Channel]:
        """A new process. Raises OSError when the machine has no process, memory or descriptor for it."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                return _start(self._module, theirs), Channel(ours, limit=WORKER_HEADER_LIMIT)
            except BaseException:
                ours.close()
                raise

    def _read(self, channel: Channel) -> None:
        while True:
            try:
                frame = channel.receive()
            except OSError:
                return
            if frame is None:
                return
            header, body, fds = frame
            _close(fds)
            if "fatal" in header:
                self._stopping = True
                self._fatal(header["fatal"])
            elif "ready" in header:
                self.ready = self._ever_ready = True
                self._on_ready(self)
            else:
                self._on_frame(self, header, body)

    def _write(self, channel: Channel) -> None:
        while True:
            while self._out:
                head, body, fds = self._out.popleft()
                try:
                    channel.send_encoded(head, body, fds)
                except OSError:
                    return
                finally:
                    _close(fds)
            self._wake.clear()
            self._wake.wait()


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for its end, for `seconds` at most, then kill it."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        gevent.sleep(0.01)
    if process.poll() is None:
        process.kill()
        process.wait()


def _start(module: str, theirs: socket.socket) -> subprocess.Popen[bytes]:
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", module, str(theirs.fileno())],
        pass_fds=(theirs.fileno(),),
        stdin=subprocess.DEVNULL,
        stdout=2,
        env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},  # import nothing from the working folder
        start_new_session=True,
    )


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)

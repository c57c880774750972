"""The parent's end of a worker process: starts it, exchanges frames with it, starts it again when it ends.

A request is a frame with a number of its own, `"req": n`. Each frame of its answer has that number; all but the last
have `"more": true`. A last frame with `"error": text, "exit": code, "errors": [text]` is a DirectorError of the worker.
`{"drop": n}` tells the worker that nobody waits for the rest.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from gevent import Greenlet
from gevent.event import Event
from gevent.queue import Empty, Queue

from director.errors import BY_EXIT_CODE, BusyError, DirectorError, ProtocolError
from director.protocol.framing import WORKER_HEADER_LIMIT, Channel, close_all, encode
from director.runtime.greenlets import jitter, spawn
from director.runtime.liveness import Backoff
from director.runtime.logs import Seldom

log = logging.getLogger(__name__)

# as `python -m MODULE`, but nothing is imported from the working folder; Python 3.10 has no option for that
RUN_MODULE = (
    "import sys; sys.path[:] = filter(None, sys.path); import runpy; "
    'runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)'
)
BOOT_DEATHS = 5  # ends in a row, before it was ever ready, after which the worker is given up


class WorkerDiedError(DirectorError):
    """The worker process ended before its answer was complete."""


class Request:
    """A request to a worker, and the frames of its answer.

    Attributes:
        number: of the request.
        frames: (header, body) that wait to be taken, None when the process ended.
        ended: whether there are no more frames.
    """

    def __init__(self, worker: Supervisor, number: int) -> None:
        self.worker = worker
        self.number = number
        self.frames: Queue[Any] = Queue()
        self.ended = False

    def next(self, timeout: float | None = None) -> tuple[dict[str, Any], bytes]:
        """The next frame of the answer.

        Raises:
            WorkerDiedError: the process ended. BusyError: nothing came within `timeout` seconds.
            DirectorError: what the worker raised.
        """
        try:
            frame = self.frames.get(timeout=timeout)
        except Empty:
            raise BusyError(f"{self.worker.name} did not answer within {timeout:g} s; try again later") from None
        self.ended = frame is None or not frame[0].get("more")
        if frame is None:
            raise WorkerDiedError(f"the {self.worker.name} process ended; ask again")
        header, body = frame
        if "error" in header:
            error = BY_EXIT_CODE.get(header["exit"], DirectorError)(header["error"])
            error.lines = tuple(header["errors"])
            raise error
        return header, body


class Supervisor:
    """One supervised worker process.

    Args:
        name: for logs.
        module: run as `python -m module`.
        hello: JSON-able settings, the first frame.
        on_ready: called whenever a new process is ready.
        fatal: called with the reason when starting it again would not help.
        on_death: called when the process has ended, before its next start.
        on_frame: called with each later frame that belongs to no request.

    Attributes:
        running: set while the process runs and takes requests.
        requests: those whose callers wait, by number.
    """

    def __init__(
        self,
        name: str,
        module: str,
        hello: dict[str, Any],
        *,
        on_ready: Callable[[Supervisor], None],
        fatal: Callable[[str], None],
        on_death: Callable[[Supervisor], None] | None = None,
        on_frame: Callable[[Supervisor, dict[str, Any], bytes], None] | None = None,
    ) -> None:
        self.name = name
        self.running = Event()
        self.requests: dict[int, Request] = {}
        self._module, self._hello = module, hello
        self._on_ready, self._on_frame, self._on_death, self._fatal = on_ready, on_frame, on_death, fatal
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._out: Queue[Any] | None = None  # (encoded header, body, descriptors); None ends the writer
        self._writer: Greenlet | None = None
        self._numbers = itertools.count(1)
        self._stopping = False
        self._ever_ready = False
        self._seldom = Seldom(log)
        spawn(f"{name} supervisor", self._supervise, vital=True)

    @property
    def pid(self) -> int:
        """Process id of the current process, 0 without one."""
        return self._process.pid if self._process else 0

    @property
    def ready(self) -> bool:
        """Whether the process runs and takes requests."""
        return self.running.is_set()

    def send(self, header: dict[str, Any] | str, body: bytes = b"", fds: list[int] | None = None) -> None:
        """Queue a frame, or drop it when no process runs; closes the descriptors in the end.

        Raises:
            ProtocolError: it is too large.
        """
        try:
            head = encode(header, body, len(fds or ()), WORKER_HEADER_LIMIT)
        except ProtocolError:
            close_all(fds or ())
            raise
        if self._out is None:
            close_all(fds or ())
        else:
            self._out.put((head, body, fds or ()))

    @contextlib.contextmanager
    def request(self, header: dict[str, Any]) -> Iterator[Request]:
        """A request that is sent now, and dropped if its answer has not ended when the `with` ends.

        Raises:
            WorkerDiedError: no process is ready. ProtocolError: it is too large.
        """
        if not self.ready:
            raise WorkerDiedError(f"the {self.name} process is not ready; ask again")
        number = next(self._numbers)
        request = self.requests[number] = Request(self, number)
        try:
            self.send({**header, "req": number})
            yield request
        finally:
            del self.requests[number]
            if self.ready and not request.ended:
                self.send({"drop": number})

    def stop(self, grace: float = 5.0) -> None:
        """End the process: send what is queued, close the channel, SIGKILL after `grace` seconds."""
        self._stopping = True
        process, channel = self._process, self._channel
        deadline = time.monotonic() + grace
        if self._out is not None and self._writer is not None:
            self._out.put(None)
            self._writer.join(grace)
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
        out = self._out = Queue()
        self.send(self._hello)
        writer = self._writer = spawn(f"{self.name} writer", _write, channel, out, vital=True)
        try:
            self._read(channel)
        finally:
            self.running.clear()
            self._out = None
            writer.kill()
            channel.close()
            _end(process, 2.0)
            if not self._stopping:
                log.warning("%s (pid %d) ended with %s; starting it again", self.name, process.pid, process.returncode)
            for frame in filter(None, out.queue):
                close_all(frame[2])
            for request in self.requests.values():
                request.frames.put(None)
            if self._on_death is not None:
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
            close_all(fds)
            if "fatal" in header:
                self._stopping = True
                self._fatal(header["fatal"])
            elif "ready" in header:
                self._ever_ready = True
                self.running.set()
                self._on_ready(self)
            elif "req" in header:
                request = self.requests.get(header["req"])
                if request is not None:
                    request.frames.put((header, body))
            elif self._on_frame is not None:
                self._on_frame(self, header, body)


def _write(channel: Channel, out: Queue[Any]) -> None:
    for head, body, fds in iter(out.get, None):
        try:
            channel.send_encoded(head, body, fds)
        except OSError:
            return
        finally:
            close_all(fds)


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
    given = filter(os.path.isabs, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return subprocess.Popen(
        [sys.executable, "-c", RUN_MODULE, module, str(theirs.fileno())],
        pass_fds=(theirs.fileno(),),
        stdin=subprocess.DEVNULL,
        stdout=2,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((package, *given))},
        start_new_session=True,
    )

"""How long a call waits for the server: a note after 3 s, an error after --server-timeout, or what ends it earlier."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from director import Any
from director.cli.output import note
from director.errors import NoServerError, WaitTimeoutError

NOTE_SECONDS = 3.0  # without an answer, until the user gets a note
EVENT_SECONDS = 6.0  # the same between two events of a wait, which the server sends every 2 s
CONNECT_PAUSE = 0.05  # seconds


def end_as_interrupted() -> None:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, but for one that the caller ignores (nohup)."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


class ServerSilentError(NoServerError):
    """The server gives no sign of life, on an open connection."""


class Patience:
    """Measures how long the server has been silent.

    Args:
        limit: seconds without a sign of life after which the call ends.
        deadline: the monotonic time at which the call ends in any case; None is never.
        first: the limit until the first sign of life; None is `limit`.

    Attributes:
        request_state: what became of the request, for the error when the call ends now.
        note: shows a line to the user.
    """

    def __init__(self, limit: float, deadline: float | None = None, first: float | None = None) -> None:
        self.deadline = float("inf") if deadline is None else deadline
        self.request_state = "; nothing was sent"
        self.note: Callable[[str], None] = note
        self._steady = limit
        self._limit = limit if first is None else first
        self.begin()

    def begin(self) -> None:
        """Start measuring anew, for a request."""
        self._heard = self._answered = time.monotonic()
        self._note_at = self._answered + NOTE_SECONDS

    def heard(self) -> None:
        """Note a sign of life: the server sent something."""
        self._heard = time.monotonic()
        self._limit = self._steady

    def answered(self, event: bool = False) -> None:
        """Note an answer, a part of one, or an event of a wait."""
        self._answered = time.monotonic()
        self._note_at = self._answered + (EVENT_SECONDS if event else NOTE_SECONDS)

    def is_silent(self) -> bool:
        """Whether there was no sign of life for three seconds."""
        return time.monotonic() - self._heard >= NOTE_SECONDS

    def left(self) -> float:
        """Seconds, more than 0, until this shall be called again; shows a note when it is due.

        Raises:
            WaitTimeoutError: the deadline has come. ServerSilentError: there was no sign of life for too long.
        """
        now = time.monotonic()
        if now >= self.deadline:
            raise WaitTimeoutError("--wait-timeout passed before the server answered" + self.request_state)
        ends = self._heard + self._limit
        if now >= ends:
            raise ServerSilentError(
                f"the server has given no sign of life for {self._limit:g} s (--server-timeout){self.request_state}"
            )
        if now >= self._note_at:
            self._note_at = float("inf")
            self.note(self._text(now))
        return max(0.001, min(self.deadline, ends, self._note_at) - now)

    def _text(self, now: float) -> str:
        if self._heard > self._answered:
            return "the server is at work on it"
        silent = f"the server has given no sign of life for {now - self._answered:.0f} s"
        return f"{silent}; the call ends after {self._limit:g} s (--server-timeout)"

    def pause(self) -> None:
        """Wait before the next try to connect. Raises as `left`."""
        time.sleep(min(CONNECT_PAUSE, self.left()))


class PatientSocket:
    """A connected `_socket.socket` for a `Channel`; its reads and writes wait and raise as a `Patience` says."""

    def __init__(self, sock: Any, patience: Patience) -> None:
        self._sock = sock
        self._patience = patience
        self.fileno, self.shutdown, self.close = sock.fileno, sock.shutdown, sock.close

    def recvmsg(self, *args: Any) -> Any:
        """See `socket`."""
        return self._received(self._patiently(self._sock.recvmsg, *args))

    def recvmsg_into(self, *args: Any) -> Any:
        """See `socket`."""
        return self._received(self._patiently(self._sock.recvmsg_into, *args))

    def sendmsg(self, *args: Any) -> int:
        """See `socket`."""
        return int(self._patiently(self._sock.sendmsg, *args))

    def sendall(self, data: Any) -> None:
        """See `socket`."""
        view = memoryview(data)
        while view:
            view = view[self._patiently(self._sock.send, view) :]

    def readable(self, seconds: float) -> bool:
        """Whether something can be read within so many seconds."""
        import select

        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN)
        until = time.monotonic() + seconds
        while True:
            rest = max(0.0, until - time.monotonic())
            if poll.poll(int(min(self._patience.left(), rest) * 1000) + 1):
                return True
            if time.monotonic() >= until:
                return False

    def _patiently(self, act: Callable[..., Any], *args: Any) -> Any:
        while True:
            self._sock.settimeout(self._patience.left())
            try:
                return act(*args)
            except TimeoutError:
                continue

    def _received(self, received: Any) -> Any:
        self._patience.heard()
        return received

"""How long a call waits for the server: a word on stderr after 3 s, an end after --server-timeout or --wait-timeout."""

from __future__ import annotations

import time

from director.cli.output import note
from director.errors import NoServerError, WaitTimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

WORD_SECONDS = 3.0  # without an answer, until the user is told
EVENTS_SECONDS = 6.0  # the same between two events of a wait, which the server sends every 2 s
CONNECT_PAUSE = 0.05


class ServerSilentError(NoServerError):
    """The server has the connection and gives no sign of life."""


class Patience:
    """Measures how long the server has been silent.

    Args:
        limit: seconds without a sign of life after which the call ends.
        deadline: the monotonic time at which the call ends in any case, None when there is none.
        first: the limit until the first sign of life, when it is another one.

    Attributes:
        outlook: what may still happen when the call ends now, for its message.
        note: shows a line to the user.
    """

    def __init__(self, limit: float, deadline: float | None = None, first: float | None = None) -> None:
        self.deadline = float("inf") if deadline is None else deadline
        self.outlook = "; nothing was sent"
        self.note: Callable[[str], None] = note
        self._steady = limit
        self._limit = limit if first is None else first
        self.begin()

    def begin(self) -> None:
        """A request begins: the server is given its whole time again."""
        self._heard = self._asked = time.monotonic()
        self._word_at = self._asked + WORD_SECONDS

    def heard(self) -> None:
        """The server gave a sign of life: it sent something."""
        self._heard = time.monotonic()
        self._limit = self._steady

    def answered(self, event: bool = False) -> None:
        """The server gave an answer or a part of one; of an `event` the next one follows by itself."""
        self._asked = time.monotonic()
        self._word_at = self._asked + (EVENTS_SECONDS if event else WORD_SECONDS)

    def is_silent(self) -> bool:
        """Whether the last sign of life is so long ago that nothing more is asked of the server."""
        return time.monotonic() - self._heard >= WORD_SECONDS

    def left(self) -> float:
        """Seconds, more than none, until `left` shall be called again; tells the user when it is time.

        Raises:
            WaitTimeoutError: the deadline has come. ServerSilentError: there was no sign of life for too long.
        """
        now = time.monotonic()
        if now >= self.deadline:
            raise WaitTimeoutError("--wait-timeout passed before the server answered" + self.outlook)
        ends = self._heard + self._limit
        if now >= ends:
            raise ServerSilentError(
                f"the server has given no sign of life for {self._limit:g} s (--server-timeout){self.outlook}"
            )
        if now >= self._word_at:
            self._word_at = float("inf")
            self.note(self._word(now))
        return max(0.001, min(self.deadline, ends, self._word_at) - now)

    def _word(self, now: float) -> str:
        if self._heard > self._asked:
            return "the server is at work on it"
        silent = f"the server has given no sign of life for {now - self._asked:.0f} s"
        return f"{silent}; the call ends after {self._limit:g} s (--server-timeout)"

    def pause(self) -> None:
        """Wait a moment before the server is tried again. Raises as `left`."""
        time.sleep(min(CONNECT_PAUSE, self.left()))


class PatientSocket:
    """A connected `_socket.socket` whose reads and writes wait as long as a `Patience` says, and raise what it raises.

    It has what `Channel` needs.
    """

    def __init__(self, sock: Any, patience: Patience) -> None:
        self._sock = sock
        self._patience = patience
        self.fileno, self.shutdown, self.close = sock.fileno, sock.shutdown, sock.close

    def recvmsg(self, *args: Any) -> Any:
        """As of a socket."""
        return self._heard(self._patiently(self._sock.recvmsg, *args))

    def recvmsg_into(self, *args: Any) -> Any:
        """As of a socket."""
        return self._heard(self._patiently(self._sock.recvmsg_into, *args))

    def sendmsg(self, *args: Any) -> int:
        """As of a socket."""
        return int(self._patiently(self._sock.sendmsg, *args))

    def sendall(self, data: Any) -> None:
        """As of a socket."""
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

    def _heard(self, received: Any) -> Any:
        self._patience.heard()
        return received

"""A connection to the server: requests, answers, errors, and how long the caller waits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from director import TYPE_CHECKING, Any
from director.errors import BY_EXIT_CODE, DirectorError, NoServerError, ProtocolError, UsageError, WaitTimeoutError
from director.protocol.framing import Channel
from director.protocol.unix_socket import connect
from director.runtime.paths import sockets_to_try

if TYPE_CHECKING:
    from typing import Protocol

    class Place(Protocol):
        """Where the server is, and how many seconds it may be silent; settings are such a place."""

        @property
        def socket_path(self) -> str | None: ...
        @property
        def state_dir(self) -> str | None: ...
        @property
        def server_timeout(self) -> float: ...


NOTE_SECONDS = 3.0  # without an answer, until the user gets a note
EVENT_SECONDS = 6.0  # the same between two events of a wait, which the server sends every 2 s
CONNECT_PAUSE = 0.05  # seconds
RETRY_PAUSE = 0.2
ORDERS = ("submit", "resume", "cancel", "purge-jobs", "purge-nodes")
ORDERED = "; the order was sent; it may be carried out"


class ServerSilentError(NoServerError):
    """The server gives no sign of life, on an open connection."""


class ServerGoneError(NoServerError):
    """The connection ended before the answer."""

    def __init__(self, error: Exception | None) -> None:
        self.what = f"the server ended the connection{f' ({error})' if error else ''}"
        super().__init__(f"{self.what}; ask again")


class Patience:
    """Measures how long the server has been silent.

    Args:
        limit: seconds without a sign of life after which the call ends.
        deadline: the monotonic time at which the call ends in any case; None is never.
        first: the limit until the first sign of life; None is `limit`.

    Attributes:
        request_state: what became of the request, for the error when the call ends now.
        note: gets a line for the user; it does nothing until it is set.
    """

    def __init__(self, limit: float, deadline: float | None = None, first: float | None = None) -> None:
        self.deadline = float("inf") if deadline is None else deadline
        self.request_state = "; nothing was sent"
        self.note: Callable[[str], None] = _silent
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


def _silent(text: str) -> None:
    pass


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


class Connection:
    """A connection; close it, or use it in a `with`.

    Each method raises what `patience` raises when the time is over; without a patience that is when the server has been
    silent for `--server-timeout`.

    Raises:
        NoServerError: no server answers. NotPermittedError: this user may not use the socket.
    """

    def __init__(self, place: Place, patience: Patience | None = None) -> None:
        self.patience = patience or Patience(place.server_timeout)
        self.patience.begin()
        self.paths = sockets_to_try(place.socket_path, place.state_dir)
        self._sock = PatientSocket(connect(self.paths, self.patience.pause), self.patience)
        self.channel = Channel(self._sock, take_fds=False)

    def send(self, header: Mapping[str, Any], fds: Sequence[int] = (), body: bytes = b"") -> None:
        """Send a request or a part of one. Raises ServerGoneError; UsageError: it is too large."""
        self.patience.begin()
        try:
            self.channel.send(header, body, fds)
            if "do" in header:
                self.patience.request_state = ORDERED if header["do"] in ORDERS else ""
        except ProtocolError as error:
            raise UsageError(f"this is too large to submit: {error}") from error
        except OSError as error:
            self.receive()  # a server that refuses a call before it reads the request has sent the reason
            raise ServerGoneError(error) from error

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """Header and body of the next frame that is more than a sign of life.

        Raises:
            ServerGoneError: the connection ended. DirectorError: the error that the server answers, by its exit code.
        """
        while True:
            try:
                frame = self.channel.receive()
            except (OSError, ProtocolError) as error:
                raise ServerGoneError(error) from error
            if frame is None:
                raise ServerGoneError(None)
            header, body, _ = frame
            if "alive" not in header:
                break
        self.patience.answered(event=bool(header.get("more")))
        if "error" in header:
            raise _error(header)
        return header, body

    def ready(self, seconds: float) -> bool:
        """Whether a frame arrives within so many seconds."""
        return self.channel.pending or self._sock.readable(seconds)

    def ask(self, request: Mapping[str, Any]) -> Any:
        """Send a request; its answer of one JSON text."""
        (answer,) = self.items(request)
        return answer

    def items(self, request: Mapping[str, Any]) -> Iterator[Any]:
        """Send a request; the JSON texts of its answer."""
        self.send(request)
        yield from self.answer(*self.receive())

    def answer(self, header: Mapping[str, Any], body: bytes) -> Iterator[Any]:
        """The JSON texts of an answer, decoded, from its first frame on; a text may be cut into several frames."""
        held = [body]
        while header.get("more"):
            if not header.get("cut"):
                yield json.loads(b"".join(held))
                held.clear()
            header, body = self.receive()
            held.append(body)
        if any(held):
            yield json.loads(b"".join(held))

    def close(self) -> None:
        """End the connection."""
        self.channel.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _error(header: Mapping[str, object]) -> DirectorError:
    code, lines = header.get("exit"), header.get("errors")
    error = BY_EXIT_CODE.get(code if isinstance(code, int) else 1, DirectorError)(str(header["error"]))
    error.lines = tuple(map(str, lines)) if isinstance(lines, list) else ()
    return error


def again(place: Place, until: float, patience: Patience) -> Connection:
    """A new connection to a server that has ended the last one; tried until the monotonic time `until`.

    Raises:
        NoServerError: it did not come back. WaitTimeoutError: the deadline of `patience` has come.
    """
    until = min(until, patience.deadline)
    while True:
        time.sleep(RETRY_PAUSE)
        try:
            return Connection(place, patience)
        except ServerSilentError:
            raise
        except NoServerError:
            if time.monotonic() >= until:
                raise

"""The connection of a call to the server: requests, answers, and the errors of the server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence

from director import Any
from director.cli.patience import Patience, PatientSocket, ServerSilentError
from director.config.settings import Settings
from director.errors import BY_EXIT_CODE, DirectorError, NoServerError, ProtocolError, UsageError
from director.protocol.framing import Channel
from director.protocol.unix_socket import connect
from director.runtime.paths import sockets_to_try

RETRY_PAUSE = 0.2
ORDERS = ("submit", "resume", "cancel", "purge-jobs", "purge-nodes")
ORDERED = "; the order was sent; it may be carried out"


class ServerGoneError(NoServerError):
    """The connection ended before the answer."""

    def __init__(self, error: Exception | None) -> None:
        self.what = f"the server ended the connection{f' ({error})' if error else ''}"
        super().__init__(f"{self.what}; ask again")


class Connection:
    """A connection; close it, or use it in a `with`.

    Each method raises what `patience` raises when the time is over; without a patience that is when the server has been
    silent for `--server-timeout`.

    Raises:
        NoServerError: no server answers. NotPermittedError: this user may not use the socket.
    """

    def __init__(self, settings: Settings, patience: Patience | None = None) -> None:
        self.patience = patience or Patience(settings.server_timeout)
        self.patience.begin()
        self.paths = sockets_to_try(settings.socket_path, settings.state_dir)
        self._sock = PatientSocket(connect(self.paths, self.patience.pause), self.patience)
        self.channel = Channel(self._sock, take_fds=False)

    def send(self, header: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a request or a part of one. Raises ServerGoneError; UsageError: it is too large."""
        self.patience.begin()
        try:
            self.channel.send(header, b"", fds)
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


def ask(settings: Settings, request: Mapping[str, Any]) -> Any:
    """The answer of a request on a connection of its own. Raises as `Connection` and its methods."""
    with Connection(settings) as connection:
        return connection.ask(request)


def _error(header: Mapping[str, object]) -> DirectorError:
    code, lines = header.get("exit"), header.get("errors")
    error = BY_EXIT_CODE.get(code if isinstance(code, int) else 1, DirectorError)(str(header["error"]))
    error.lines = tuple(map(str, lines)) if isinstance(lines, list) else ()
    return error


def again(settings: Settings, until: float, patience: Patience) -> Connection:
    """A new connection to a server that has ended the last one; tried until the monotonic time `until`.

    Raises:
        NoServerError: it did not come back. WaitTimeoutError: the deadline of `patience` has come.
    """
    until = min(until, patience.deadline)
    while True:
        time.sleep(RETRY_PAUSE)
        try:
            return Connection(settings, patience)
        except ServerSilentError:
            raise
        except NoServerError:
            if time.monotonic() >= until:
                raise

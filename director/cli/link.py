"""A call's connection to the server: one request, its answer, errors as ours."""

from __future__ import annotations

import time

from director.errors import BY_EXIT_CODE, DirectorError, NoServerError, ProtocolError, UsageError
from director.framing import Channel, close_all
from director.paths import sockets_to_try
from director.unixsocket import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from director.options import Settings

ANSWER_SECONDS = 60.0  # what a listing may take
PLAN_SECONDS = 900.0  # what planning may take
RETRY_PAUSE = 0.2


class ServerGoneError(NoServerError):
    """The connection ended before the answer; `what` says it without what the user can do."""

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what + advice)
        self.what = what


class Link:
    """A connection; close it, or use it in a `with`."""

    def __init__(self, settings: Settings, patience: float = ANSWER_SECONDS) -> None:
        self.paths = sockets_to_try(settings.socket_path, settings.state_dir)
        sock = connect(self.paths)
        sock.settimeout(patience)
        self._patience = patience
        self.channel = Channel(sock, take_fds=False)

    def send(self, header: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a request or a part of one; raises ServerGoneError, UsageError when it is too large."""
        try:
            self.channel.send(header, b"", fds)
        except ProtocolError as error:
            raise UsageError(f"this is too large to submit: {error}") from error
        except OSError as error:
            raise self._gone(error) from error

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """The next frame.

        Raises:
            ServerGoneError: the connection ended. DirectorError: the server's own error, with its exit code.
        """
        try:
            frame = self.channel.receive()
        except (OSError, ProtocolError) as error:
            raise self._gone(error) from error
        if frame is None:
            raise self._gone(None)
        header, body, fds = frame
        close_all(fds)
        if "error" in header:
            raise _error(str(header["error"]), header.get("exit"))
        return header, body

    def ready(self, seconds: float) -> bool:
        """Whether a frame begins within so many seconds."""
        if self.channel.pending:
            return True
        import select

        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN)
        return bool(poll.poll(max(0, int(seconds * 1000) + 1)))

    def parts(self, request: Mapping[str, Any]) -> Iterator[bytes]:
        """Ask, and give the bodies of the answer one by one; what was cut is put together again."""
        self.send(request)
        more = True
        held: list[bytes] = []
        while more:
            header, body = self.receive()
            more = bool(header.get("more"))
            held.append(body)
            if body and not header.get("cut"):
                yield b"".join(held)
                held.clear()

    def ask(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Ask; the answer's header and its whole body."""
        self.send(request)
        return self.whole(*self.receive())

    def whole(self, header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """An answer of which the first frame has come."""
        bodies = [body]
        while header.get("more"):
            header, body = self.receive()
            bodies.append(body)
        return header, b"".join(bodies)

    def _gone(self, error: Exception | None) -> ServerGoneError:
        if isinstance(error, TimeoutError):
            return ServerGoneError(f"the server did not answer within {self._patience:g} s")
        return ServerGoneError(f"the server ended the connection{f' ({error})' if error else ''}", "; ask again")

    def close(self) -> None:
        """End the connection."""
        self.channel.close()

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _error(text: str, code: object) -> DirectorError:
    kind = BY_EXIT_CODE.get(code if isinstance(code, int) else 1, DirectorError)
    return kind(text)


def again(settings: Settings, until: float, patience: float = ANSWER_SECONDS) -> Link:
    """A new connection to a server that was there a moment ago; tried until the monotonic time `until`.

    Raises:
        NoServerError: it did not come back.
    """
    while True:
        time.sleep(RETRY_PAUSE)
        try:
            return Link(settings, patience)
        except NoServerError:
            if time.monotonic() >= until:
                raise

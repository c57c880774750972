"""Submissions that are accepted at most once, whatever fails; files are read here, with the user's rights."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from director import TYPE_CHECKING, Any
from director.errors import NoServerError, UsageError, WaitTimeoutError
from director.ids import new_job_id
from director.library.connection import (
    ORDERED,
    Connection,
    Patience,
    ServerGoneError,
    ServerSilentError,
    again,
)
from director.protocol.framing import FDS_LIMIT, close_all

if TYPE_CHECKING:
    from director.library.connection import Place
    from director.transfer.sources import Found

RETRY_SECONDS = 10.0
TEXT_LIMIT = 4 * 1024 * 1024
ENTRIES, BYTES = 2000, 1 << 20  # in one frame: files of any kind, and bytes of small ones


def send(
    place: Place,
    request: Mapping[str, Any],
    ids: Sequence[str],
    patience: Patience | None = None,
    secrets: Mapping[str, bytes] | None = None,
) -> tuple[Connection, Any]:
    """Send a submission; when the server dies before its answer, send it again with the same ids.

    Args:
        request: with ids made by the caller, so that it is accepted once or not at all.
        ids: those, for errors.
        secrets: the values by name.

    Returns:
        The connection and the answer.

    Raises:
        NoServerError: no server answers, it is silent, or it did not come back within 10 s.
        WaitTimeoutError: the deadline of `patience` has come.
    """
    secrets = secrets or {}
    if secrets:
        request = {**request, "secrets": list(secrets)}
    connection = Connection(place, patience)
    patience = connection.patience
    until = 0.0
    while True:
        try:
            return connection, _converse(connection, request, secrets)
        except ServerGoneError as error:
            connection.close()
            until = until or time.monotonic() + RETRY_SECONDS
            try:
                connection = again(place, until, patience)
                request = {**request, "again": True}
            except (NoServerError, WaitTimeoutError):
                raise NoServerError(f"{error.what}; it did not come back within 10 s{_unknown(ids)}") from error
        except BaseException as error:
            connection.close()
            if isinstance(error, (ServerSilentError, WaitTimeoutError)) and patience.request_state == ORDERED:
                raise type(error)(f"{error}{_unknown(ids)}") from error
            raise


def _unknown(ids: Sequence[str]) -> str:
    return f"; whether {' '.join(ids)} was accepted, `director --list-jobs {' '.join(ids)}` will tell" if ids else ""


def _converse(connection: Connection, request: Mapping[str, Any], values: Mapping[str, bytes]) -> Any:
    """Send a submission, then the sources that the server wants, and the secrets, sealed; the answer."""
    wants, sealer = Wants(connection), None
    connection.send(request)
    while True:
        header, body = connection.receive()
        if "want" in header:
            wants.begin(header["want"])
        elif "next" in header:
            wants.go_on()
        elif "seal" in header:
            from director.library.secrets import Sealer

            sealer = sealer or Sealer(values)
            connection.send(sealer.answer(header["seal"]))
        elif "ok" in header:
            (answer,) = connection.answer(header, body)
            return answer
        else:
            raise UsageError("the server speaks another version of this protocol; use the same for both")


def text_of(text: str) -> dict[str, Any]:
    """The field `files[]` of instructions; sources are looked for in the working folder."""
    return _file("exec", "exec", "containerfile", text, _here())


def read_file(name: str) -> dict[str, Any]:
    """The field `files[]` of an orchestration file; `-` is standard input. Raises UsageError: it cannot be read."""
    try:
        if name == "-":
            if sys.stdin is None:
                raise UsageError("-: standard input is closed; expected an orchestration file")
            return _file("orchestrate", "-", "auto", _text(name, sys.stdin.buffer.read(TEXT_LIMIT + 1)), _here())
        with open(name, "rb") as file:
            text = _text(name, file.read(TEXT_LIMIT + 1))
    except OSError as error:
        instead = f"; for an instruction: director --exec '{name}'" if " " in name else ""
        raise UsageError(f"{name}: {error.strerror}; expected an orchestration file{instead}") from error
    # a pipe that a shell passes as <(…) is in no folder
    folder = os.path.dirname(os.path.abspath(name)) if os.path.isfile(name) else _here()
    return _file("orchestrate", name, "auto", text, folder)


def _text(name: str, data: bytes) -> str:
    if len(data) > TEXT_LIMIT:
        raise UsageError(f"{name}: larger than {TEXT_LIMIT >> 20} MiB; expected an orchestration file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name}:{line}: a byte that is not UTF-8; expected a text file") from error


def _file(kind: str, name: str, form: str, text: str, folder: str) -> dict[str, Any]:
    return {"id": new_job_id(), "kind": kind, "name": name, "form": form, "text": text, "folder": folder}


def _here() -> str:
    try:
        return os.getcwd()
    except OSError as error:
        raise UsageError("the working folder is gone; change to one that exists") from error


class Wants:
    """Answers the wants of the server, one at a time; a want names a source, whose files are passed as descriptors."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._left: Iterator[Found] = iter(())

    def begin(self, want: Mapping[str, Any]) -> None:
        """Send the first frame for a want; the rest of the want before it is dropped."""
        from director.transfer.sources import expand

        self._left = expand(want)
        self.go_on()

    def go_on(self) -> None:
        """Send the next frame: some entries, none at the end, or why the source cannot be read."""
        opened: list[int] = []
        try:
            entries, small = self._batch(opened)
            self._connection.send({"entries": entries}, opened, b"".join(small))
        except UsageError as error:
            self._connection.send({"error": str(error)})
        finally:
            close_all(opened)

    def _batch(self, opened: list[int]) -> tuple[list[dict[str, Any]], list[bytes]]:
        """The next entries, and the bytes of small files among them; the descriptors of others go into `opened`."""
        entries: list[dict[str, Any]] = []
        small: list[bytes] = []
        size = 0
        for found in self._left:
            data = found.read_small() if found.kind == "file" else b""
            if data is None:
                opened.append(found.open())
            entries.append(found.entry(packed=bool(data)))
            if data:
                small.append(data)
                size += len(data)
            if len(opened) == FDS_LIMIT or len(entries) == ENTRIES or size >= BYTES:
                break
        return entries, small

"""--exec, --orchestrate, --plan and --resume: submissions that are accepted at most once, whatever fails.

Texts and the files that they name are read here, with the user's rights.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from director import TYPE_CHECKING, Any
from director.cli.confirm import confirm_job, guard
from director.cli.connection import (
    ORDERED,
    Connection,
    Patience,
    ServerGoneError,
    ServerSilentError,
    again,
    end_on_signals,
)
from director.cli.output import answer, note
from director.config.settings import Settings
from director.config.table import BY_NAME
from director.errors import EXIT_INTERRUPTED, EXIT_OK, DirectorError, NoServerError, UsageError, WaitTimeoutError
from director.ids import new_job_id
from director.protocol.framing import FDS_LIMIT, close_all

if TYPE_CHECKING:
    from director.transfer.sources import Found

RETRY_SECONDS = 10.0
TEXT_LIMIT = 4 * 1024 * 1024
ENTRIES, BYTES = 2000, 1 << 20  # in one frame: files of any kind, and bytes of small ones
OPTIONS = ("target", "timeout", "valid-for", "no-cache", "arg", "extend-args", "async", "name")


def run(settings: Settings) -> int:
    """Submit a text or files; a text with `VERB --help` prints the manual instead."""
    if settings.text is not None and "--help" in settings.text:
        from director.cli.manual import manuals

        if pages := manuals(settings):
            answer(pages)
            return EXIT_OK
    request = {"do": "submit", **submission(settings), **guard(settings)}
    return _submit(settings, request, [file["id"] for file in request["files"]])


def resume(settings: Settings) -> int:
    """Submit a job that runs only what did not succeed in another."""
    job = new_job_id()
    request = {"do": "resume", "id": settings.words[0], "new_id": job, "options": options(settings, True)}
    return _submit(settings, {**request, **guard(settings)}, [job])


def plan(settings: Settings) -> int:
    """Show what the files or the text would run where and why; run nothing."""
    from director.report.plans import render_plans

    connection, answered = send(settings, {"do": "plan", **submission(settings)}, [])
    connection.close()
    plans = answered.get("plans") or [answered]
    for warning in [warning for each in plans for warning in each.get("warnings") or []]:
        note(warning)
    answer(render_plans(plans, settings.words, settings.output, not settings.no_header))
    return EXIT_OK


def _submit(settings: Settings, request: Mapping[str, Any], ids: Sequence[str]) -> int:
    end_on_signals()
    waits = settings.wait or settings.sources.get("wait-timeout") == "flag"
    deadline = time.monotonic() + settings.wait_timeout if waits and settings.wait_timeout is not None else None
    accepted = False
    try:
        patience = Patience(settings.server_timeout, deadline)
        connection, answered = send(settings, request, ids, patience)
        if "confirm" in answered:
            connection.close()
            confirmed = confirm_job(settings, answered["confirm"])
            connection, answered = send(settings, {**request, **confirmed}, ids, patience)
        accepted = True
        with connection:
            return _accepted(settings, answered, connection if waits else None)
    except KeyboardInterrupt:
        before = "interrupted before the server's answer; if it was accepted its id is"
        note(f"{'interrupted; accepted as' if accepted else before} {' '.join(ids)}")
        return EXIT_INTERRUPTED


def _accepted(settings: Settings, answered: Mapping[str, Any], connection: Connection | None) -> int:
    """Print the ids, or with a connection wait for the jobs; the exit code."""
    jobs = [str(job["id"]) for job in answered["jobs"]]
    for line in answered["notes"]:
        note(line)
    if connection is not None:
        from director.cli.waiting import wait

        return wait(settings, jobs, connection)
    from director.report.tables import render_ids

    try:
        answer(render_ids(jobs, settings.output, not settings.no_header))
    except DirectorError as error:
        raise DirectorError(f"{error}; accepted as {' '.join(jobs)}") from error
    return EXIT_OK


def send(
    settings: Settings, request: Mapping[str, Any], ids: Sequence[str], patience: Patience | None = None
) -> tuple[Connection, Any]:
    """Send a submission; when the server dies before its answer, send it again with the same ids.

    Returns:
        The connection and the answer.

    Raises:
        NoServerError: no server answers, it is silent, or it did not come back within 10 s.
        WaitTimeoutError: the deadline of `patience` has come.
        UsageError: a secret cannot be read.
    """
    values: dict[str, bytes] = {}
    if settings.secret:
        from director.cli.secrets import read

        values = read(settings.secret)
        request = {**request, "secrets": list(values)}
    connection = Connection(settings, patience)
    patience = connection.patience
    until = 0.0
    while True:
        try:
            return connection, _converse(connection, request, values)
        except ServerGoneError as error:
            connection.close()
            until = until or time.monotonic() + RETRY_SECONDS
            try:
                connection = again(settings, until, patience)
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
            from director.cli.secrets import Sealer

            sealer = sealer or Sealer(values)
            connection.send(sealer.answer(header["seal"]))
        elif "ok" in header:
            (answer,) = connection.answer(header, body)
            return answer
        else:
            raise UsageError("the server speaks another version of this protocol; use the same for both")


def submission(settings: Settings) -> dict[str, Any]:
    """The fields of a request of `--exec`, `--orchestrate` or `--plan`.

    Raises:
        UsageError: a file cannot be read or is no text.
    """
    if settings.text is not None:
        files = [_file("exec", "exec", "containerfile", settings.text, _here())]
    else:
        if settings.words.count("-") > 1:
            raise UsageError("standard input (-) can be read only once")
        files = [_read(name) for name in settings.words]
    return {"files": files, "options": options(settings)}


def options(settings: Settings, only_given: bool = False) -> dict[str, Any]:
    """The options of a request; `only_given` leaves out those that have their default."""
    found = {}
    for name in OPTIONS:
        value = getattr(settings, BY_NAME[name].attribute)
        if not only_given or settings.sources.get(name, "default") != "default":
            key = "args" if name == "arg" else name.replace("-", "_")
            found[key] = list(value) if isinstance(value, tuple) else value
    return found


def _read(name: str) -> dict[str, Any]:
    try:
        if name == "-":
            if sys.stdin is None:
                raise UsageError("-: standard input is closed; expected an orchestration file")
            return _file("orchestrate", "-", "auto", _text(name, sys.stdin.buffer.read(TEXT_LIMIT + 1)), _here())
        with open(name, "rb") as file:
            text = _text(name, file.read(TEXT_LIMIT + 1))
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}; expected an orchestration file") from error
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

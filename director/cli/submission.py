"""Makes a submission of texts and options, and sends the files that it names; all are read with the user's rights."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from itertools import islice

from director import TYPE_CHECKING, Any
from director.cli.connection import Connection
from director.config.settings import Settings
from director.config.table import BY_NAME
from director.errors import UsageError
from director.ids import new_job_id
from director.protocol.framing import FDS_LIMIT, close_all

if TYPE_CHECKING:
    from director.transfer.sources import Found

TEXT_LIMIT = 4 * 1024 * 1024
ENTRIES = FDS_LIMIT  # in one frame, of any kind, so that there are never more files than descriptors
OPTIONS = ("target", "timeout", "valid-for", "no-cache", "arg", "extend-args", "async", "name")


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
        """Send the next frame: up to 200 entries, none at the end, or why the source cannot be read."""
        opened: list[int] = []
        try:
            batch = list(islice(self._left, ENTRIES))
            opened.extend(found.open() for found in batch if found.kind == "file")
            self._connection.send({"entries": [found.entry() for found in batch]}, opened)
        except UsageError as error:
            self._connection.send({"error": str(error)})
        finally:
            close_all(opened)

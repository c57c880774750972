"""--export-jobs and --export-nodes: write all jobs or nodes into a file that appears when it is complete."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from director.cli.output import answer
from director.cli.server import connect
from director.config.settings import Settings
from director.errors import EXIT_OK, UsageError

ENDINGS = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}


def run(settings: Settings) -> int:
    """Write every job with its results, or every node with its facts.

    Raises:
        UsageError: the file's name has another ending, or it cannot be written.
    """
    from director.report.formats import json_list, yaml_list

    path = settings.words[0]
    form = _form(path, settings.output)
    with connect(settings) as connection:
        rows = (row for rows in connection.items({"do": settings.action}) for row in rows)
        pieces = yaml_list(rows) if form == "yaml" else json_list(rows)
        if path == "-":
            answer(pieces)
        else:
            _write(path, pieces)
    return EXIT_OK


def _form(path: str, output: str) -> str:
    if path == "-":
        return "yaml" if output == "yaml" else "json"
    form = ENDINGS.get(os.path.splitext(path)[1].lower())
    if form is None:
        raise UsageError(f"{path}: expected a name that ends in .json, .yaml or .yml, or - for standard output")
    return form


def _write(path: str, pieces: Iterable[str]) -> None:
    """Write a temporary file beside the path, then rename it."""
    beside = f"{path}.{os.getpid()}.part"
    try:
        # outputs and ARGs are nobody else's
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8", errors="replace") as file:
            file.writelines(pieces)
        os.replace(beside, path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(beside)

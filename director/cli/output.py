"""Writes answers to stdout and notes to stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable

from director.config.settings import Settings
from director.errors import EXIT_OK, DirectorError
from director.report.screen import PLAIN, Screen

BLOCK = 64 * 1024


def answer(pieces: Iterable[str]) -> bool:
    """Write the answer as UTF-8; False when its reader has closed the pipe, which is no error.

    Raises:
        DirectorError: it cannot be written: the disk is full, or standard output is closed.
    """
    if sys.stdout is None:
        raise DirectorError("the answer cannot be written: standard output is closed")
    try:
        # with PYTHONUNBUFFERED, as in containers, each piece would be a write to `sys.stdout`
        with open(1, "wb", BLOCK, closefd=False) as output:
            output.writelines(piece.encode("utf-8", "replace") for piece in pieces)
    except BrokenPipeError:
        _discard(1)
        return False
    except OSError as error:
        _discard(1)
        raise DirectorError(f"the answer cannot be written: {error.strerror}") from error
    return True


def stream(pieces: Iterable[str]) -> None:
    """Write a part of an answer that goes on, at once. Raises as `answer`; a reader that has gone ends the call."""
    data = "".join(pieces).encode("utf-8", "replace")
    try:
        while data:
            data = data[os.write(1, data) :]
    except BrokenPipeError:
        _discard(1)
        raise SystemExit(EXIT_OK) from None
    except OSError as error:
        raise DirectorError(f"the answer cannot be written: {error.strerror}") from error


def screen(descriptor: int = 1) -> Screen:
    """What stdout, or stderr with 2, is shown on."""
    try:
        if not os.isatty(descriptor):
            return PLAIN
        size = os.get_terminal_size(descriptor)
    except OSError:
        return PLAIN
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return Screen(size.columns or 80, size.lines or 24, not is_plain, time.time())


def _discard(descriptor: int) -> None:
    """Let the descriptor lead to /dev/null, so that the end of the process does not fail with what is buffered."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def note(text: str) -> None:
    """Write one line to stderr, with control characters escaped; a failure is ignored."""
    from director.report.text import cell

    try:
        sys.stderr.buffer.write(f"director: {cell(text)}\n".encode("utf-8", "replace"))
        sys.stderr.buffer.flush()
    except OSError:
        _discard(2)


def version(settings: Settings) -> int:
    """`--version`."""
    from director import __version__

    answer((f"director {__version__}\n",))
    return EXIT_OK

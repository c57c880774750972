"""Where answers and notes go: stdout for the answer and nothing else, stderr for the rest."""

from __future__ import annotations

import os
import sys

from director.errors import EXIT_OK, DirectorError

BLOCK = 64 * 1024

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from director.config.settings import Settings


def answer(pieces: Iterable[str]) -> None:
    """Write the answer as UTF-8; a reader that has left is no error.

    Raises:
        DirectorError: it cannot be written (full disk, or the caller has closed standard output).
    """
    if sys.stdout is None:
        raise DirectorError("the answer cannot be written: standard output is closed")
    try:
        for block in _blocks(pieces):
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        hush()
    except OSError as error:
        hush()
        raise DirectorError(f"the answer cannot be written: {error.strerror}") from error


def _blocks(pieces: Iterable[str]) -> Iterator[bytes]:
    """The pieces in blocks, as a container with PYTHONUNBUFFERED would write each line by itself."""
    held, size = [], 0
    for piece in pieces:
        held.append(piece.encode("utf-8", "replace"))
        size += len(held[-1])
        if size >= BLOCK:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


def hush() -> None:
    """Send what is left in stdout's buffer nowhere, so that ending the process does not fail over it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def note(text: str) -> None:
    """One line on stderr, whatever is in it; nobody reading it is no error."""
    from director.report.text import cell

    try:
        sys.stderr.buffer.write(f"director: {cell(text)}\n".encode("utf-8", "replace"))
        sys.stderr.buffer.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def decode(body: bytes) -> Any:
    """A body of JSON."""
    import json

    return json.loads(body)


def version(settings: Settings) -> int:
    """`--version`."""
    from director import __version__

    answer((f"director {__version__}\n",))
    return EXIT_OK

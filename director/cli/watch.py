"""--watch: shows a list again and again, until Ctrl-C."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable

from director.cli.output import answer, note
from director.errors import EXIT_INTERRUPTED, EXIT_OK, NoServerError

EVERY = 2.0  # seconds
ANEW = "\x1b[H\x1b[2J\x1b[?7l"  # an empty screen, on which long lines are cut and not wrapped
WRAP = "\x1b[?7h"


def watch(render: Callable[[], Iterable[str]]) -> int:
    """Show what `render` makes; on a terminal in place of the last time, elsewhere each time that it has changed.

    A server that goes away is waited for. Raises DirectorError: it does not answer the first time.
    """
    screen, before = sys.stdout is not None and sys.stdout.isatty(), ""
    try:
        while True:
            try:
                text = "".join(render())
            except NoServerError as error:
                if not before:
                    raise
                note(str(error))
                text = before
            else:
                shown = f"{ANEW}{fitting(text, os.get_terminal_size(1).lines)}{WRAP}" if screen else text
                if (screen or text != before) and not answer((shown,)):
                    return EXIT_OK
            before = text
            time.sleep(EVERY)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def fitting(text: str, rows: int) -> str:
    """The heading and the last lines of a list, as many as fit on a screen with so many rows."""
    lines = text.splitlines(keepends=True)
    return text if len(lines) < rows else "".join((lines[0], *lines[-max(1, rows - 2) :]))

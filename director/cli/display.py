"""Shows the progress of a call that waits: notes on stderr, and on a terminal one line of progress."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping

from director import Any
from director.cli.output import note

DELAY = 1.0  # seconds; most jobs end sooner, without the import of rich
OPEN = ("queued", "sent", "running")


class Display:
    """Notes on stderr, and progress where that is a terminal."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
        self._from = time.monotonic() + DELAY
        self._bar: Any = None
        self._task: Any = None

    def show(self, progress: Mapping[str, Any]) -> None:
        """Show the progress of an event of the server."""
        if not self._live or time.monotonic() < self._from:
            return
        if self._bar is None and not self._start():
            return
        counts = [job.get("tasks") or {} for job in progress.get("jobs") or []]
        total = sum(count.get("total", 0) for count in counts)
        left = sum(count.get(state, 0) for count in counts for state in OPEN)
        self._bar.update(self._task, total=total, completed=total - left)

    def _start(self) -> bool:
        try:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
        except ImportError:
            self._live = False
            return False
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("tasks", total=None)
        self._bar.start()
        return True

    def note(self, text: str) -> None:
        """Write a line above the progress."""
        if self._bar is None:
            note(text)
        else:
            self._bar.stop()
            note(text)
            self._bar.start()

    def close(self) -> None:
        """Remove the progress."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

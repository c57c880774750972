"""Progress on a terminal, by rich, which is imported when the first progress is drawn; notes above it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping

from director import Any
from director.cli.output import note

DELAY = 1.0  # seconds; most jobs end sooner, without the import of rich
OFTEN = 4  # drawings a second
BAR = 60  # columns


class Display:
    """Notes on stderr, and progress where that is a terminal.

    Args:
        quiet: neither.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._live = is_terminal and not quiet and os.environ.get("TERM", "") not in ("", "dumb")
        self._from = time.monotonic() + DELAY
        self._drawn: Any = None
        self._progress: Mapping[str, Any] = {}
        self._rate: Any = None
        self._console: Any = None
        self._pace = 0.0  # tasks a second

    def show(self, progress: Mapping[str, Any]) -> None:
        """Show the progress of an event of the server."""
        if not self._live:
            return
        if self._rate is None:
            from director.report.progress import Rate

            self._rate = Rate()
        from director.report.progress import done_and_total

        self._progress = progress
        self._pace = self._rate.take(time.monotonic(), done_and_total(progress)[0])
        if self._drawn is None and time.monotonic() >= self._from:
            self._start()

    def _start(self) -> None:
        try:
            from rich.console import Console
            from rich.live import Live
        except ImportError:
            self._live = False
            return
        self._console = Console(stderr=True)
        self._drawn = Live(
            console=self._console, transient=True, refresh_per_second=OFTEN, get_renderable=self._picture,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._drawn.start()

    def _picture(self) -> Any:
        """What is drawn; rich cuts it to the terminal's width as it is then."""
        from rich.console import Group
        from rich.text import Text

        from director.report.progress import done_and_total, progress_lines

        done, total = done_and_total(self._progress)
        head, lines = progress_lines(self._progress, self._pace, time.time())
        texts = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
        columns = min(BAR, self._console.size.width)
        filled = done * columns // max(1, total)
        bar = Text.assemble(("━" * filled, "green"), ("━" * (columns - filled), "bright_black"), no_wrap=True)
        return Group(Text(head, style="bold", no_wrap=True, overflow="ellipsis"), bar, *texts)

    def note(self, text: str) -> None:
        """Write a line above the progress."""
        if self._quiet:
            return
        if self._drawn is None:
            note(text)
        else:
            self._drawn.stop()
            note(text)
            self._drawn.start()

    def close(self) -> None:
        """Remove the progress."""
        if self._drawn is not None:
            self._drawn.stop()
            self._drawn = None
        self._live = False

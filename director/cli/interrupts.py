"""Makes SIGTERM and SIGHUP end a call as SIGINT does: with a line on stderr that says what goes on."""

from __future__ import annotations

import signal


def end_as_interrupted() -> None:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, but for one that the caller ignores (nohup)."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)

"""How the actions reach the server: notes go to stderr, and signals end a call as Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from director import Any
from director.cli.output import note
from director.config.settings import Settings
from director.library.connection import Connection, Patience


def patient(settings: Settings, deadline: float | None = None, first: float | None = None) -> Patience:
    """A patience of a call, whose notes go to stderr; the arguments are those of `Patience`."""
    patience = Patience(settings.server_timeout, deadline, first)
    patience.note = note
    return patience


def connect(settings: Settings, patience: Patience | None = None) -> Connection:
    """A connection. Raises as `Connection`."""
    return Connection(settings, patience or patient(settings))


def ask(settings: Settings, request: Mapping[str, Any]) -> Any:
    """The answer of a request on a connection of its own. Raises as `Connection` and its methods."""
    with connect(settings) as connection:
        return connection.ask(request)


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, but for one that the caller ignores (nohup)."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)

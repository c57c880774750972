"""Handles signals in the gevent loop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable

from gevent import get_hub


def on_end(function: Callable[[str], None]) -> None:
    """Call `function` with the name of each SIGTERM or SIGINT, in a turn of the loop; works for process 1 too."""
    _on((signal.SIGTERM, signal.SIGINT), function)


def on_hangup(function: Callable[[str], None]) -> None:
    """Call `function` with the name of each SIGHUP, in the same way."""
    _on((signal.SIGHUP,), function)


def _on(numbers: Iterable[signal.Signals], function: Callable[[str], None]) -> None:
    loop = get_hub().loop
    notify = loop.async_()
    asked: list[str] = []

    def deliver() -> None:
        while asked:
            function(asked.pop(0))

    notify.start(deliver)

    def handler(number: int, _frame: object) -> None:
        asked.append(signal.Signals(number).name)
        notify.send()

    for number in numbers:
        signal.signal(number, handler)

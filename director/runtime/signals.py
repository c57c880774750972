"""Signals queue and return: a greenlet does what they ask for."""

from __future__ import annotations

import signal
from collections.abc import Callable

from gevent import get_hub


def on_end(function: Callable[[str], None]) -> None:
    """Call `function(name)` in the hub's turn for each SIGTERM or SIGINT; works for process 1 too."""
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

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)

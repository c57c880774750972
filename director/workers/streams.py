"""The ledger's long answers: each in a thread of its own, and no further ahead than the hub can pass on.

So one who reads slowly costs neither the hub's memory nor keeps others waiting, and one who has left costs nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from director.errors import BusyError

WINDOW = 8 * 1024 * 1024  # bytes of an answer that the hub has not passed on yet
AT_ONCE = 8  # more wait for one of them to end


class Streams:
    """Answers under way, by the numbers of their queries."""

    def __init__(self) -> None:
        self._flying: dict[int, int] = {}
        self._changed = threading.Condition()
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def begin(self, number: int, answer: Callable[[], None]) -> None:
        """Call `answer` in a thread, as soon as there is a place for it and unless the asker has left by then.

        Raises:
            BusyError: the machine has no thread for it now.
        """
        with self._changed:
            self._flying[number] = 0
        try:
            threading.Thread(target=self._run, args=(number, answer), name=f"query {number}", daemon=True).start()
        except RuntimeError as error:
            self.left(number)
            raise BusyError(f"the ledger could not answer: {error}; try again in a moment") from error

    def taken(self, number: int, size: int) -> None:
        """The hub has passed on `size` bytes more."""
        with self._changed:
            if number in self._flying:
                self._flying[number] -= size
                self._changed.notify_all()

    def left(self, number: int) -> None:
        """Nobody wants the rest."""
        with self._changed:
            self._flying.pop(number, None)
            self._changed.notify_all()

    def paced(self, number: int, parts: Iterator[bytes]) -> Iterator[bytes]:
        """The same parts, each when there is room for it; ends early when the asker has left."""
        for part in parts:
            with self._changed:
                self._changed.wait_for(lambda: self._flying.get(number, 0) < WINDOW)
                if number not in self._flying:
                    return
                self._flying[number] += len(part)
            yield part

    def _run(self, number: int, answer: Callable[[], None]) -> None:
        with self._places:
            if number in self._flying:
                answer()
        self.left(number)

"""The ledger's long answers: each in a thread of its own, at most `WINDOW` bytes ahead of what the parent passed on.

So a caller that reads slowly needs little of the parent's memory and delays no one, and one that left costs nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from director.errors import BusyError

WINDOW = 8 * 1024 * 1024  # bytes of an answer that the parent has not passed on yet
AT_ONCE = 8  # answers; others wait until one of them ends


class Streams:
    """Answers under way, by query number."""

    def __init__(self) -> None:
        self._unread: dict[int, int] = {}
        self._changed = threading.Condition()
        self._slots = threading.BoundedSemaphore(AT_ONCE)

    def begin(self, number: int, answer: Callable[[], None]) -> None:
        """Call `answer` in a new thread once fewer than `AT_ONCE` others run, unless the caller has left by then.

        Raises: BusyError when no thread can be started.
        """
        with self._changed:
            self._unread[number] = 0
        try:
            threading.Thread(target=self._run, args=(number, answer), name=f"query {number}", daemon=True).start()
        except RuntimeError as error:
            self.left(number)
            raise BusyError(f"the ledger could not answer: {error}; try again in a moment") from error

    def taken(self, number: int, size: int) -> None:
        """The parent passed on `size` more bytes."""
        with self._changed:
            if number in self._unread:
                self._unread[number] -= size
                self._changed.notify_all()

    def left(self, number: int) -> None:
        """Stop the answer early."""
        with self._changed:
            self._unread.pop(number, None)
            self._changed.notify_all()

    def paced(self, number: int, parts: Iterator[bytes]) -> Iterator[bytes]:
        """The same parts, each as soon as the window has room; ends early after `left`."""
        for part in parts:
            with self._changed:
                self._changed.wait_for(lambda: self._unread.get(number, 0) < WINDOW)
                if number not in self._unread:
                    return
                self._unread[number] += len(part)
            yield part

    def _run(self, number: int, answer: Callable[[], None]) -> None:
        with self._slots:
            if number in self._unread:
                answer()
        self.left(number)

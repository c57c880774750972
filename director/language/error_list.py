"""Collects what is wrong in one text, so that its author hears of all of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from director.errors import LanguageError, LanguageErrors, NoTargetError

LIMIT = 20  # errors of one text; behind them it is not read on


class Faults:
    """The errors of one text so far; true when there is one."""

    def __init__(self) -> None:
        self._found: dict[str, LanguageError | NoTargetError] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Keep the LanguageError or NoTargetError that the block raises. Raises them all when there are LIMIT."""
        try:
            yield
        except (LanguageError, NoTargetError) as error:
            self.add(error)

    def add(self, error: LanguageError | NoTargetError) -> None:
        """Keep one; a second one of the same text is none. Raises them all when there are LIMIT."""
        self._found.setdefault(str(error), error)
        if len(self._found) >= LIMIT:
            self.check()

    def check(self) -> None:
        """Raise what was found, in the order of lines: a single error as it is, several as one LanguageErrors.

        Raises:
            LanguageError, LanguageErrors, NoTargetError.
        """
        found = sorted(self._found.values(), key=lambda error: error.line)
        if len(found) == 1:
            raise found[0]
        if found:
            last = len(found) >= LIMIT
            raise LanguageErrors(found, f"these are the first {LIMIT} errors; there may be more" if last else "")

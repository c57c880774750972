"""Collects the errors of one text, so that all are reported at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from director.errors import LanguageError, LanguageErrors, NoTargetError

LIMIT = 20  # errors of one text, after which reading stops


class Faults:
    """The errors of one text; true when there is one."""

    def __init__(self) -> None:
        self._found: dict[str, LanguageError | NoTargetError] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    @contextmanager
    def caught(self, file: str = "", line: int = 0) -> Iterator[None]:
        """Collect a LanguageError or NoTargetError of the block. Raises as `check` when there are LIMIT.

        Args:
            file, line: collect also a ValueError, as an error of this line or of its own attribute `line`.
        """
        try:
            yield
        except (LanguageError, NoTargetError) as error:
            self.add(error)
        except ValueError as error:
            if not file:
                raise
            self.add(LanguageError(str(error), file, getattr(error, "line", line)))

    def add(self, error: LanguageError | NoTargetError) -> None:
        """Collect an error, once for each message. Raises as `check` when there are LIMIT."""
        self._found.setdefault(str(error), error)
        if len(self._found) >= LIMIT:
            self.check()

    def check(self) -> None:
        """Raise the errors, if there are any.

        Raises:
            LanguageError, NoTargetError: the only error.
            LanguageErrors: several, in the order of their lines.
        """
        found = sorted(self._found.values(), key=lambda error: error.line)
        if len(found) == 1:
            raise found[0]
        if found:
            last = len(found) >= LIMIT
            raise LanguageErrors(found, f"these are the first {LIMIT} errors; there may be more" if last else "")

"""Regexes in linear time, by the library RE2; no other module imports it.

RE2 has no look-around and no back-references: its syntax is https://github.com/google/re2/wiki/Syntax.
"""

from __future__ import annotations

MAX_PATTERN = 500  # characters
_MEMORY = 1 << 20  # bytes of one regex, with RE2's cache for matching


class PatternError(ValueError):
    """A regex that cannot be used; the message continues "the regex …"."""


class Regex:
    """A compiled regex; `matches(text)` says whether it fits the whole text.

    Args:
        pattern: at most MAX_PATTERN characters.

    Raises:
        PatternError: RE2 refuses the pattern, or it is too long.
    """

    def __init__(self, pattern: str) -> None:
        import re2  # only here: the import takes 25 ms, and most expressions have no regex

        if len(pattern) > MAX_PATTERN:
            raise PatternError(f"is longer than {MAX_PATTERN} characters")
        options = re2.Options()
        options.max_mem, options.log_errors = _MEMORY, False
        try:
            self._fullmatch = re2.compile(pattern.encode(), options).fullmatch
        except UnicodeEncodeError:
            raise PatternError("is not UTF-8") from None
        except re2.error as error:
            raise PatternError(f"cannot be read: {_said(error)}") from None

    def matches(self, text: str) -> bool:
        """Whether the regex fits the whole of `text`."""
        return self._fullmatch(text.encode("utf-8", "replace")) is not None


def _said(error: Exception) -> str:
    said = error.args[0]
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)

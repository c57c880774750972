"""Logs to stderr, as text or as one JSON object a line."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from functools import lru_cache

import ujson


class Formatter(logging.Formatter):
    """A record as JSON, or as `2026-01-31T12:00:00.123Z info  director.server.sessions: text` and the traceback."""

    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json
        self.hide: Callable[[str], str] = str

    def format(self, record: logging.LogRecord) -> str:
        """The line for `record`; JSON has `time`, `level`, `logger`, `message`, and for a traceback `error`."""
        time, level, name, message = stamp(record.created), record.levelname.lower(), record.name, record.getMessage()
        error = self.formatException(record.exc_info) if record.exc_info else ""
        message, error = self.hide(message), self.hide(error)
        if not self._as_json:
            return "\n".join((f"{time} {level:7} {name}: {_line(message)}", *map(_line, error.splitlines())))
        row = {"time": time, "level": level, "logger": name, "message": message, **({"error": error} if error else {})}
        return str(ujson.dumps(row, escape_forward_slashes=False))


class Seldom:
    """Logs one warning or exception in so many seconds, with the number of those left out."""

    def __init__(self, log: logging.Logger, seconds: float = 10.0) -> None:
        self._log, self._seconds = log, seconds
        self._last = float("-inf")
        self._left_out = 0

    def exception(self, text: str) -> None:
        """Log or count the exception that is being handled, with its traceback."""
        self.warning(text, exc_info=True)

    def warning(self, text: str, *args: object, exc_info: bool = False) -> None:
        """Log or count the warning."""
        now = time.monotonic()
        if now - self._last < self._seconds:
            self._left_out += 1
            return
        more = f" ({self._left_out} more like this since the last line)" if self._left_out else ""
        self._last, self._left_out = now, 0
        self._log.log(logging.ERROR if exc_info else logging.WARNING, text + more, *args, exc_info=exc_info)


def set_up(level: str = "info", form: str = "text") -> None:
    """Log everything from `level` up to stderr; a later call replaces an earlier one."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(as_json=form == "json"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def hide_with(hide: Callable[[str], str]) -> None:
    """Have a function mask what must not be in any log; it gets each message, and each traceback."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, Formatter):
            handler.formatter.hide = hide


def last_word(text: str, form: str) -> None:
    """Write why the process ends: as the error of a call, or as a log line when the form is `json`."""
    if form == "json":
        logging.getLogger("director").error("%s", text)
    else:
        sys.stderr.write(f"director: {_line(text)}\n")


def stamp(epoch: float) -> str:
    """Epoch seconds as ISO 8601 UTC with milliseconds."""
    return f"{_second(int(epoch // 1))}.{int(epoch % 1 * 1000):03d}Z"


@lru_cache(64)  # a listing of a fleet has few different seconds
def _second(epoch: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch))


def _line(text: str) -> str:
    """The text with control characters escaped: a peer must not forge or colour a line."""
    return "".join(ch if ch.isprintable() else repr(ch)[1:-1] for ch in text)

"""Makes text from nodes safe for a terminal, and measures its width there."""

from __future__ import annotations

import re

# C0 and C1 controls, marks that reorder or hide text, line separators, lone surrogates; not newline and tab
_UNSAFE = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
_UNSAFE_OR_BREAK = "[\n\t]|" + _UNSAFE
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _shown(match: re.Match[str]) -> str:
    sign = match.group()
    code = ord(sign)
    if sign in _SHORT:
        return _SHORT[sign]
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def safe(text: str) -> str:
    """The text with all control characters escaped but newline and tab."""
    return text if text.isprintable() else re.sub(_UNSAFE, _shown, text)


def cell(value: object) -> str:
    """A value as one line; `-` for None and for an empty text."""
    text = "" if value is None else str(value)
    if not text.isprintable():
        text = re.sub(_UNSAFE_OR_BREAK, _shown, text)
    return text or "-"


def width(text: str) -> int:
    """The columns of the text on a terminal: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    from unicodedata import category, combining, east_asian_width

    columns = 0
    for sign in text:
        if not combining(sign) and category(sign) not in ("Mn", "Me", "Cf"):
            columns += 2 if east_asian_width(sign) in "WF" else 1
    return columns


def pad(text: str, columns: int) -> str:
    """The text with blanks on the right up to so many columns."""
    return text + " " * (columns - width(text))


def clipped(text: str, columns: int) -> str:
    """The text in at most so many columns; one that is longer ends in `…`."""
    if width(text) <= columns:
        return text
    if text.isascii():
        return text[: columns - 1] + "…"
    while text and width(text) > columns - 1:
        text = text[:-1]
    return text + "…"


def size(value: float) -> str:
    """Bytes as `77 B`, `1.2 KB`, `3.4 MB`, in powers of 1000."""
    if value < 1000:
        return f"{value:.0f} B"
    for unit in ("KB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"
    return ""


def memory(value: float) -> str:
    """Bytes as `7.6G`, in powers of 1024, as targets take them."""
    for unit in ("", "K", "M", "G"):
        if value < 1024:
            return f"{value:.1f}{unit}" if unit and value < 100 else f"{value:.0f}{unit}"
        value /= 1024
    return f"{value:.1f}T"


def ago(value: object, now: float) -> str:
    """A time as `5s ago` or `in 3m`, at the epoch second `now`; one that cannot be read as it is."""
    if value is None or value == "":
        return ""
    try:
        at = float(value) if isinstance(value, (int, float)) else _epoch(str(value))
    except (ValueError, OverflowError):
        return moment(value)
    away = now - at
    return f"{_brief(away)} ago" if away >= 0 else f"in {_brief(-away)}"


def _epoch(text: str) -> float:
    """Epoch seconds of ISO 8601 in UTC, as the server writes it. Raises ValueError."""
    from datetime import datetime

    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _brief(value: float) -> str:
    """`5s`, `12m`, `3h`, `4d`."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if value >= length:
            return f"{value // length:.0f}{unit}"
    return f"{value:.0f}s"


def seconds(value: float | None) -> str:
    """Seconds as `0.24s`, `12.3s`, `3m05s`, `2h00m`, `4d03h`; "" for None."""
    if value is None:
        return ""
    if value < 59.95:
        return f"{value:.2f}s" if value < 9.995 else f"{value:.1f}s"
    whole = round(value)
    for size, unit, part, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02}{below}"
    return f"{whole}s"


def moment(value: object) -> str:
    """An ISO 8601 text or epoch seconds as `2031-05-04T10:20:30Z`; "" for None."""
    if value is None or value == "":
        return ""
    if isinstance(value, (int, float)):
        import time

        try:
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(value))
        except (OverflowError, ValueError, OSError):
            return str(value)
    whole, dot, _ = str(value).partition(".")
    return f"{whole}Z" if dot else whole.replace("+00:00", "Z")


def pairs(mapping: dict[str, object] | None) -> str:
    """Labels as `a=1,b=2`, sorted by name."""
    return ",".join(f"{key}={value}" for key, value in sorted((mapping or {}).items()))

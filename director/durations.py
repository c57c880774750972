"""Durations as users write them: seconds, or numbers with ms, s, m, h, d (`1m30s`)."""

from __future__ import annotations

import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
EXPECTED = "seconds, or numbers with ms, s, m, h, d such as 1m30s"
LIMIT = 1e10  # seconds, about 300 years; sums with clock times still work

_PART = r"(\d+(?:\.\d+)?)(ms|[smhd])"


def parse(text: str) -> float:
    """Seconds of a duration.

    Raises:
        ValueError: the text is not a duration, or longer than LIMIT; the message says what was expected.
    """
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        seconds = float(text)
    elif re.fullmatch(f"(?:{_PART})+", text, re.ASCII):
        seconds = sum(float(number) * UNITS[unit] for number, unit in re.findall(_PART, text))
    else:
        raise ValueError(f"{text!r} is not a duration; expected {EXPECTED}")
    if seconds > LIMIT:
        raise ValueError(f"{text!r} is too long; at most {LIMIT:.0f} seconds")
    return seconds

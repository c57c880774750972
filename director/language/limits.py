"""Limits for the values of expressions in templates, so that none needs much memory or time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from director.errors import VerbError

MAX_OUTPUT = 1 << 20  # characters of the output, and of each value of an expression
_PERCENT = re.compile(r"%(?:\([^)]*\))?[-+ #0]*([0-9]*)(?:\.([0-9]*))?")
_COLON = re.compile(r":[^{}]*?([0-9]{7,})")
_NESTED = re.compile(r"\{[^{}]*:[^{}]*\{")


def too_large(what: str) -> VerbError:
    """The error that stops a template."""
    return VerbError(f"the template was stopped: {what} would be larger than {MAX_OUTPUT} characters")


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Refuse results that would need much memory or time."""
    if operator == "*" and _product(left, right) > MAX_OUTPUT:
        raise too_large("the product")
    if operator == "**" and _is_number(left) and _is_number(right) and not _small_power(left, right):
        raise too_large("the power")
    if operator == "+" and _length(left) + _length(right) > MAX_OUTPUT:
        raise too_large("the sum")
    if operator == "%" and isinstance(left, str):
        check_format(left, right)


def check_numbers(given: Iterable[Any], what: str) -> None:
    """Refuse large numbers as arguments."""
    if any(_is_number(one) and one > MAX_OUTPUT for one in given):
        raise too_large(what)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple) else 0


def _product(left: Any, right: Any) -> int:
    """The length of a repeated sequence; 0 for a product of numbers."""
    for one, other in ((left, right), (right, left)):
        if isinstance(one, str | bytes | list | tuple) and isinstance(other, int):
            return len(one) * max(0, other)
    return 0


def _small_power(left: float, right: float) -> bool:
    return not isinstance(left, int) or not isinstance(right, int) or left.bit_length() * abs(right) < 1 << 16


def check_format(text: str, values: Any) -> None:
    """Refuse large widths in `'%*d' % …` and `'%1000000000d' % …`."""
    given = values if isinstance(values, tuple) else (values,)
    _refuse_wide((number for pair in _PERCENT.findall(text) for number in pair), given if "*" in text else ())


def check_str_format(text: str, values: Iterable[Any]) -> None:
    """Refuse large widths in `'{:1000000000}'.format(…)` and `'{:{}}'.format(…)`."""
    _refuse_wide(_COLON.findall(text), values if _NESTED.search(text) else ())


def _refuse_wide(digits: Iterable[str], values: Iterable[Any]) -> None:
    widths = [int(number[:12]) for number in digits if number.isdigit()]
    if any(width > MAX_OUTPUT for width in (*widths, *(value for value in values if isinstance(value, int)))):
        raise too_large("the text")


def check_replace(text: Any, old: Any = "", new: Any = "", *_: Any) -> None:
    """Refuse replacements that make a text long."""
    text, old, new = str(text), str(old), str(new)
    if (text.count(old) if old else len(text) + 1) * len(new) > MAX_OUTPUT:
        raise too_large("the text")

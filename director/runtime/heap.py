"""Gives freed memory back to the system."""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD = -1
KEPT = 256 * 1024  # bytes of free memory that stay at the end of the heap


def give_back() -> None:
    """Fix glibc's thresholds, which otherwise grow to the largest block ever freed (mallopt(3))."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has neither the setting nor the growth
        ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, KEPT)

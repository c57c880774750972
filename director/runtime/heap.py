"""Memory that was needed once for something large goes back to the system."""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD = -1
KEPT = 256 * 1024  # bytes of free memory at the end of the heap that are kept for the next need


def give_back() -> None:
    """Fix glibc's thresholds, which otherwise grow to the largest block ever freed (mallopt(3)); no more elsewhere."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such setting, and no such habit
        ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, KEPT)

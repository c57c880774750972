"""Keeps glibc from mapping every large block anew, and gives freed memory back to the system when there is time.

glibc maps a block of 128 KiB or more, and unmaps it when it is freed: each piece of a file would be faulted in page by
page, which takes longer than to encrypt it. Blocks below `MAPPED` come from the heap, which `trim` shrinks afterwards.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MAPPED = 32 << 20  # bytes of a block that is mapped by itself; glibc takes no more (mallopt(3))
KEPT = 64 << 20  # bytes of free memory that may stay at the end of the heap until `trim`
FAULTS = 1024  # pages that were touched first since the last `trim`, which make another one worth its time


class _Last:
    """How many pages had been touched first when the heap was last trimmed."""

    faults = 0


def set_up(kept: int = KEPT, mapped: int = MAPPED) -> None:
    """Fix glibc's thresholds, which otherwise grow to the largest block ever freed.

    Args:
        kept: bytes of free memory that may stay at the end of the heap.
        mapped: bytes of a block that is mapped by itself.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library has neither the settings nor the growth
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, mapped)
        mallopt(M_TRIM_THRESHOLD, kept)


def set_up_without_contents() -> None:
    """For a process that carries no contents of files, and may never have time to trim: what is freed goes back."""
    set_up(256 * 1024, 128 * 1024)


def has_grown() -> bool:
    """Whether so much memory was touched since the last `trim` that some may be free by now; takes a microsecond."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - _Last.faults >= FAULTS


def trim() -> None:
    """Give freed memory back, if there may be some. Call it when there is time.

    It takes about a millisecond, in a process with hundreds of MiB a hundred.
    """
    if has_grown():
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))
        _Last.faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt

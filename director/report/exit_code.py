"""The exit code that jobs come to."""

from __future__ import annotations

from director.errors import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_OK, EXIT_WAIT_TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_CODES = {
    "success": EXIT_OK,
    "failed": EXIT_FAILED,
    "cancelled": EXIT_INCOMPLETE,
    "incomplete": EXIT_INCOMPLETE,
}
_ORDER = (EXIT_WAIT_TIMEOUT, EXIT_FAILED, EXIT_INCOMPLETE)


def verdict(jobs: Iterable[Mapping[str, Any]]) -> int:
    """0 when all jobs are well, 1 when one failed, else 8 when one was cancelled or is incomplete.

    A job that is not final is never well: it gives 4, which goes before the others.
    """
    codes = {_CODES.get(str(job.get("state")), EXIT_WAIT_TIMEOUT) for job in jobs}
    return next((code for code in _ORDER if code in codes), EXIT_OK)

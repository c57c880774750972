"""How many descriptors this process may still open: some are kept for operators, the last of them for refusals."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator

RESERVE = 16  # no new node is let in when fewer are left: operators, workers and files need them
LAST = 4  # only `with_the_last` opens these


def hold_back() -> None:
    """Keep the last descriptors for `with_the_last`; called once, after the limit was raised."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard - LAST, hard))


@contextlib.contextmanager
def with_the_last() -> Iterator[None]:
    """Inside, the last descriptors may be opened too; for a call that does not wait."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_of_the_last(descriptor: int) -> bool:
    """Whether all others were open when this one was opened: the kernel gives the lowest number that is free."""
    return descriptor >= resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def are_scarce() -> bool:
    """Whether hardly more than the reserve is left."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lowest = os.dup(2)
    except OSError:
        return True
    os.close(lowest)
    return lowest >= soft - RESERVE


def shortage() -> str:
    """What a caller that is refused is told."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"the server has nearly all of the {hard} descriptors open that it may have; try again later, "
        "or raise its limit (LimitNOFILE=, ulimit -n)"
    )

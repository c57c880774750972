"""Keeps some of the process's descriptors for operators, and the last ones for refusals."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator

RESERVE = 16  # with fewer left no new node is accepted: operators, workers and files need them
LAST = 4  # opened inside `with_the_last` only


def hold_back() -> None:
    """Keep the last descriptors for `with_the_last`. Call it once, after the limit was raised."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard - LAST, hard))


@contextlib.contextmanager
def with_the_last() -> Iterator[None]:
    """A context in which the last descriptors may be opened; nothing in it may wait."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_of_the_last(descriptor: int) -> bool:
    """Whether the descriptor is one of the last: the kernel gives the lowest free number."""
    return descriptor >= resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def are_scarce() -> bool:
    """Whether at most the reserve is left."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lowest = os.dup(2)
    except OSError:
        return True
    os.close(lowest)
    return lowest >= soft - RESERVE


def shortage() -> str:
    """The reason for a refusal."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"the server has nearly all of the {hard} descriptors open that it may have; try again later, "
        "or raise its limit (LimitNOFILE=, ulimit -n)"
    )

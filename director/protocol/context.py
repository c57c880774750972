"""The ZeroMQ context of a process, and what must be true before there is one."""

from __future__ import annotations

import ctypes
import os
import resource
from _thread import LockType

import gevent
import zmq
from gevent.monkey import get_original

from director.errors import StartError

Context = zmq.Context[zmq.Socket[bytes]]

THREADS = "/proc/self/task"
LEAST_LIBRARY = (4, 3, 5)
CONTEXT_THREADS = 2  # one for input and output, one that closes sockets
allocate_lock = get_original("_thread", "allocate_lock")
start_new_thread = get_original("_thread", "start_new_thread")


def new_context(sockets: int = 1023) -> Context:
    """A new context for up to `sockets` sockets.

    Raises:
        StartError: its threads cannot be started, or the library is too old.
    """
    require_library(zmq.zmq_version_info())
    require_threads(CONTEXT_THREADS)
    seed()
    context: Context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, sockets)
    context.set(zmq.BLOCKY, 0)
    context.socket(zmq.PAIR).close()  # the library starts its threads with the first socket
    return context


def seed() -> None:
    """Make the routing ids that a ROUTER gives unpredictable: they count up from the C library's `rand()`.

    Nothing else seeds it. A client may choose a routing id, and libzmq aborts when a client has the next one already.
    """
    ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "big"))


def require_library(version: tuple[int, int, int]) -> None:
    """Check the version of libzmq: an older one has known holes. Raises StartError: it is too old."""
    if version < LEAST_LIBRARY:
        has, least = (".".join(map(str, numbers)) for numbers in (version, LEAST_LIBRARY))
        raise StartError(
            f"libzmq {has} is too old, expected {least} or newer: pip install --force-reinstall --only-binary pyzmq "
            "'pyzmq>=26' brings one, or update the system's libzmq and build pyzmq again"
        )


def require_threads(count: int) -> None:
    """Check that so many threads can be started; else the library would abort. Raises StartError: they cannot."""
    before, gate = len(os.listdir(THREADS)), allocate_lock()
    try:
        with gate:  # the threads wait for it, so that all exist at the same time
            for _ in range(count):
                start_new_thread(_pass, (gate,))
    except RuntimeError as error:
        raise StartError(f"{error}: there are as many processes as there may be (ulimit -u, pids.max)") from None
    while len(os.listdir(THREADS)) > before:  # until they have ended
        gevent.sleep(0.001)


def _pass(gate: LockType) -> None:
    with gate:
        pass


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:  # else the unit need not permit the call
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard

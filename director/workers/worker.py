"""The worker's end: connects to the server's main process and serves its frames."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import ujson

from director.errors import EXIT_FAILED, DirectorError
from director.protocol.framing import WORKER_HEADER_LIMIT, Channel, Frame
from director.runtime import heap
from director.runtime.logs import set_up
from director.runtime.profiling import finish, start

IDLE = 1.0  # seconds without a frame after which memory is given back
WORK_PAUSE = 0.005  # seconds between two looks whether work can go on
Handle = Callable[[dict[str, Any], bytes, list[int]], object]


def connect() -> tuple[Channel, dict[str, Any]]:
    """The channel to the parent and the settings it sent; sets logging and profiling up from them.

    Raises:
        SystemExit: the parent is gone already. ProtocolError, OSError: its first frame cannot be read.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    heap.set_up_without_contents()
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.setblocking(True)
    channel = Channel(sock, take_fds=True, limit=WORKER_HEADER_LIMIT)
    frame = channel.receive()
    if frame is None:
        raise SystemExit(0)
    settings = frame[0]
    set_up(settings.get("log_level", "info"), settings.get("log_format", "text"))
    if settings.get("profile"):
        start(settings["profile"], sys.argv[0].rpartition("/")[2].removesuffix(".py"))
    logging.getLogger(__name__).debug("worker ready")
    return channel, settings


def serve(channel: Channel, handle: Handle, work: Callable[[], bool | None] = lambda: None) -> None:
    """Report ready, then give each frame to `handle` until the parent closes the channel; closes descriptors.

    Args:
        work: does a part of other work before each frame; False: nothing could be done yet, None: there is none.
    """
    channel.send({"ready": True})
    while True:
        while (done := work()) is not None:
            if channel.pending or select.select([channel], [], [], 0 if done else WORK_PAUSE)[0]:
                break
        frame = _next(channel)
        if frame is None:
            return
        try:
            handle(*frame)
        finally:
            for fd in frame[2]:
                os.close(fd)


def _next(channel: Channel) -> Frame | None:
    """The next frame; memory that the one before took is given back when no other comes for a while."""
    if heap.has_grown() and not channel.pending and not select.select([channel], [], [], IDLE)[0]:
        heap.trim()
    return channel.receive()


@contextlib.contextmanager
def serving(channel: Channel) -> Iterator[None]:
    """Ends the process in silence when the parent is gone, and with a frame `fatal` after a DirectorError.

    A DirectorError here is one that starting the process again would not mend.

    Raises:
        SystemExit: for each of these, and when no thread can be started.
    """
    try:
        yield
    except DirectorError as error:
        with contextlib.suppress(OSError):
            channel.send({"fatal": str(error)})
        raise SystemExit(error.exit_code) from None
    except (BrokenPipeError, ConnectionResetError):
        raise SystemExit(0) from None
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        logging.getLogger(__name__).error("%s", error)  # the parent starts this process again
        raise SystemExit(EXIT_FAILED) from None
    finally:
        finish()


def dumps(value: Any) -> bytes:
    """JSON in UTF-8."""
    return bytes(ujson.dumps(value, escape_forward_slashes=False).encode())


def refusal(request: int, error: DirectorError) -> dict[str, Any]:
    """The frame that ends the answer to a request with an error."""
    return {"req": request, "error": str(error), "exit": error.exit_code, "errors": list(error.lines)}

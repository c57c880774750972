"""A worker process's side of the frames: where its parent is, and what to do when the parent is gone."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import ujson

from director.errors import EXIT_FAILED, DirectorError
from director.protocol.framing import WORKER_HEADER_LIMIT, Channel
from director.runtime import heap
from director.runtime.logs import set_up
from director.runtime.profiling import finish, start


def connect() -> tuple[Channel, dict[str, Any]]:
    """The channel to the parent and the settings it sent; logging is set up from them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    heap.give_back()
    link = socket.socket(fileno=int(sys.argv[1]))
    link.setblocking(True)
    channel = Channel(link, take_fds=True, limit=WORKER_HEADER_LIMIT)
    frame = channel.receive()
    if frame is None:
        raise SystemExit(0)
    settings = frame[0]
    set_up(settings.get("log_level", "info"), settings.get("log_format", "text"))
    if settings.get("profile"):
        start(settings["profile"], sys.argv[0].rpartition("/")[2].removesuffix(".py"))
    logging.getLogger(__name__).debug("worker ready")
    return channel, settings


@contextlib.contextmanager
def serving(channel: Channel) -> Iterator[None]:
    """What a worker does for its parent: it ends in silence with the parent, and tells it why it cannot begin.

    A DirectorError that comes out is an error that starting again would not mend.
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
    """JSON bytes, quickly."""
    return bytes(ujson.dumps(value, escape_forward_slashes=False).encode())

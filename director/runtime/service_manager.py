"""What the service manager (systemd) is told: that the program is ready, that it lives, what it does, that it ends.

The protocol is that of sd_notify(3). Nothing happens where no service manager listens.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping

from director.runtime.greenlets import periodic

log = logging.getLogger(__name__)

EVERY = 10.0
SIGNS = 3  # of life, in the time after which the watchdog acts
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")  # they are meant for this process alone


def tell(text: str) -> None:
    """Send one message, such as `STOPPING=1`; a service manager that does not take it is passed over."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.connect("\0" + address[1:] if address.startswith("@") else address)
            link.sendall(text.encode(errors="replace"))
    except OSError as error:
        log.debug("the service manager at %s was not told: %s", address, error)


def pace(environ: Mapping[str, str]) -> float:
    """Seconds between two reports: often enough for the unit's WatchdogSec, which systemd gives in microseconds."""
    allowed = environ.get("WATCHDOG_USEC", "")
    return min(EVERY, int(allowed) / 1e6 / SIGNS) if allowed.isdecimal() and int(allowed) else EVERY


def report(status: Callable[[], str]) -> None:
    """Say that the program is ready; from then on say that it lives, and its status, as long as the loop turns."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return

    def sign(first: str = "") -> None:
        text = " ".join(status().split())
        tell(f"{first}WATCHDOG=1\nSTATUS={text}")

    sign("READY=1\n")
    periodic("service manager", pace(os.environ), sign)

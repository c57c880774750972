"""Tells the service manager (systemd) that the program is ready, alive, and ending, by the protocol of sd_notify(3).

Nothing happens without a service manager.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping

from director.runtime.greenlets import periodic

log = logging.getLogger(__name__)

EVERY = 10.0
SIGNS = 3  # of life, within the time of the watchdog
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")  # for this process only


def tell(text: str) -> None:
    """Send one message, such as `STOPPING=1`; a failure is logged only."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.connect("\0" + address[1:] if address.startswith("@") else address)
            link.sendall(text.encode(errors="replace"))
    except OSError as error:
        log.debug("no message to the service manager at %s: %s", address, error)


def pace(environ: Mapping[str, str]) -> float:
    """Seconds between two reports, by the unit's WatchdogSec, which systemd gives in microseconds."""
    allowed = environ.get("WATCHDOG_USEC", "")
    return min(EVERY, int(allowed) / 1e6 / SIGNS) if allowed.isdecimal() and int(allowed) else EVERY


def report(status: Callable[[], str]) -> None:
    """Report that the program is ready, then regularly that it is alive, with its status."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return

    def sign(first: str = "") -> None:
        text = " ".join(status().split())
        tell(f"{first}WATCHDOG=1\nSTATUS={text}")

    sign("READY=1\n")
    periodic("service manager", pace(os.environ), sign)

"""Binds the server's plain TCP ports, and checks before anything is created that they can be bound."""

from __future__ import annotations

import ipaddress

from gevent import socket

from director.errors import StartError
from director.protocol.transport import why_not_bound
from director.runtime import paths


def bound(host: str, port: int, option: str) -> socket.socket:
    """A TCP socket that is bound, not listening. Raises StartError: it cannot be; the message has the `option`."""
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended do not count
        found.bind((host, port))
    except OSError as error:
        found.close()
        why = why_not_bound(error.errno or 0)
        raise StartError(f"cannot listen at {paths.endpoint(host, port)} ({option}): {why}") from error
    return found


def require_free(address: str, port: int, enroll_port: int) -> None:
    """Check that these TCP ports can be bound now. Raises StartError: one of them cannot."""
    host = paths.bind_host(address)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return  # the name of an interface; only ZeroMQ can resolve it
    for number, option in ((port, "--port"), (enroll_port, "--enroll-port")):
        bound(host, number, option).close()

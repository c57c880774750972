"""Checks before anything is created that the server's ports can be listened on."""

from __future__ import annotations

import ipaddress
import socket

from director.errors import StartError
from director.protocol.transport import why_not_bound
from director.runtime import paths


def require_free(address: str, *ports: int) -> None:
    """Raise StartError when one of the TCP ports of the bind address cannot be listened on now."""
    host = paths.bind_host(address)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return  # the name of an interface; only ZeroMQ can resolve it
    for port in ports:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended do not count
            try:
                probe.bind((host, port))
            except OSError as error:
                where = paths.endpoint(address, port)
                raise StartError(f"cannot listen at {where}: {why_not_bound(error.errno or 0)}") from error

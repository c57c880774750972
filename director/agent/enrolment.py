"""A client's call at the enrolment port: the server's public key, and the wish for a name."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

import ujson

from director.errors import DirectorError, UsageError
from director.protocol import messages

PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the enrolment port said.

    Attributes:
        host: the numeric address that answered.
        server_key: the server's public key in Z85.
        status: `ok`, `pending` or `refused`.
        reason: why it is not ok.
    """

    host: str
    server_key: str
    status: str
    reason: str


def split_address(address: str, port: int) -> tuple[str, int]:
    """Host and port of `host[:port]`, `[ipv6]:port` or a bare IPv6 address; UsageError for anything else."""
    host, rest = address, ""
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        rest = rest.removeprefix(":")
    elif address.count(":") == 1:
        host, rest = address.split(":")
    if not host or (rest and not rest.isdigit()) or not 0 < int(rest or port) < 65536:
        raise UsageError(f"--server-address {address}: expected host[:port]")
    return host, int(rest or port)


def resolve(host: str) -> list[str]:
    """Numeric addresses of a host, in the order to be tried.

    Raises:
        StartError: there is no thread for it. DirectorError: the host has no address now.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise DirectorError(f"the server's address {host} cannot be looked up: {error.strerror or error}") from error
    except RuntimeError as error:  # no thread can be started that would look it up
        raise DirectorError(f"the server's address {host} cannot be looked up: {error}") from error
    addresses = list(dict.fromkeys(str(row[4][0]) for row in found))
    return sorted(addresses, key=lambda address: ":" in address)


def ask(host: str, port: int, name: str, key: str) -> Answer:
    """Ask every address of `host` in turn; DirectorError when none answers."""
    why = ""
    for address in resolve(host):
        try:
            return _ask_one(address, port, {"v": messages.VERSION, "name": name, "key": key})
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
        except (ValueError, KeyError, TypeError, AttributeError):
            why = "it speaks another language; is --enroll-port right?"
    raise DirectorError(f"no enrolment at {host}:{port}: {why}")


def _ask_one(address: str, port: int, request: dict[str, Any]) -> Answer:
    with socket.create_connection((address, port), timeout=PATIENCE) as link:
        link.sendall(ujson.dumps(request).encode() + b"\n")
        data = b""
        while not data.endswith(b"\n") and len(data) < 65536:
            part = link.recv(4096)
            if not part:
                break
            data += part
    answer = ujson.loads(data)
    return Answer(
        address,
        str(answer.get("server_key") or ""),
        str(answer.get("status") or "ok"),
        str(answer.get("reason") or ""),
    )

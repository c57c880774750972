"""Enrolment of a client: it asks the enrolment port for the server's public key and for its own name."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

import ujson

from director.errors import DirectorError, UsageError
from director.protocol import messages

TIMEOUT = 10.0  # seconds for each address
ANSWER_LIMIT = 65536  # bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of the enrolment port.

    Attributes:
        host: the numeric address that answered.
        server_key: the server's public key in Z85.
        status: `ok`, `pending` or `refused`.
        reason: why the status is not `ok`.
    """

    host: str
    server_key: str
    status: str
    reason: str


def split_address(address: str, port: int) -> tuple[str, int]:
    """Host and port of `host[:port]`, `[ipv6]:port` or a bare IPv6 address; `port` is the default.

    Raises:
        UsageError: it is none of these.
    """
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
    """Numeric addresses of a host in the order to be tried, IPv4 first.

    Raises:
        DirectorError: the host has no address now, or no thread can be started for the lookup.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise DirectorError(f"the server's address {host} cannot be looked up: {error.strerror or error}") from error
    except RuntimeError as error:  # no thread can be started
        raise DirectorError(f"the server's address {host} cannot be looked up: {error}") from error
    addresses = list(dict.fromkeys(str(row[4][0]) for row in found))
    return sorted(addresses, key=lambda address: ":" in address)


def ask(host: str, port: int, name: str, key: str) -> Answer:
    """Ask the addresses of `host` one after another until one answers.

    Raises:
        DirectorError: none did.
    """
    why = ""
    for address in resolve(host):
        try:
            return _ask_one(address, port, {"v": messages.VERSION, "name": name, "key": key})
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
        except (ValueError, KeyError, TypeError, AttributeError):
            why = "it uses another protocol; is --enroll-port right?"
    raise DirectorError(f"no enrolment at {host}:{port}: {why}")


def _ask_one(address: str, port: int, request: dict[str, Any]) -> Answer:
    with socket.create_connection((address, port), timeout=TIMEOUT) as link, link.makefile("rb") as reader:
        link.sendall(ujson.dumps(request).encode() + b"\n")
        answer = ujson.loads(reader.readline(ANSWER_LIMIT))
    key, status, reason = (str(answer.get(name) or "") for name in ("server_key", "status", "reason"))
    return Answer(address, key, status or "ok", reason)

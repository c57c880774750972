"""From which addresses mode `auto` enrols: networks, or this machine's own addresses and private ones."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable
from functools import lru_cache

from director.errors import UsageError

PRIVATE = "private"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# loopback, private, link-local and shared address space; the library's `is_private` has networks of documentation too
RANGES = (
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
    "::1/128", "fc00::/7", "fe80::/10",
)  # fmt: skip


class Networks:
    """A set of addresses.

    Args:
        words: networks such as `192.0.2.0/24`, addresses, `private` (with this machine's own addresses), or `all`.

    Raises:
        UsageError: one of them is none of these.
    """

    def __init__(self, words: Iterable[str]) -> None:
        words = list(words)
        self._own = PRIVATE in words
        self._networks = [network for word in words for network in _networks(word)]

    def contain(self, address: str) -> bool:
        """Whether an address, as a peer's, is one of them."""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped
        inside = any(found in network for network in self._networks if network.version == found.version)
        return inside or (self._own and not found.is_unspecified and _is_own(str(found)))


def _networks(word: str) -> list[Network]:
    if word == PRIVATE:
        return list(map(ipaddress.ip_network, RANGES))
    if word == "all":
        return [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    try:
        return [ipaddress.ip_network(word, strict=False)]
    except ValueError as error:
        raise UsageError(f"--enroll-from {word}: expected a network such as 192.0.2.0/24, private, or all") from error


@lru_cache(1024)
def _is_own(address: str) -> bool:
    """Whether it is an address of this machine: only such can be bound."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def own_address(bind_address: str, port: int) -> str:
    """`host:port` under which other machines reach this one: the bind address, or that of the way to the internet."""
    host = bind_address
    if bind_address in ("*", "all", "0.0.0.0", "::"):
        host = "127.0.0.1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.connect(("192.0.2.1", 9))  # sends nothing; the kernel chooses the address
            host = probe.getsockname()[0]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

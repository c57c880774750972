"""What a client knows of its server: the addresses, and the public key that it trusts.

The key comes from `--server-key`, from an earlier start (`server.pub` in the state folder), or from the token. Only a
client that has none of these asks the enrolment port, in clear; a client that trusts a key believes nothing in clear.
"""

from __future__ import annotations

import logging
import os
import socket

import ujson

from director.errors import DirectorError, UsageError
from director.protocol import keys, messages, tokens
from director.protocol.tokens import Token

log = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds for each address
ANSWER_LIMIT = 4096  # bytes
CREDENTIAL = "director-token"  # LoadCredential= of a systemd unit


class ServerIdentity:
    """One client's server.

    Args:
        folder: where the key is kept that this client trusts; "" keeps it in memory.
        public: the client's own public key, as in its present connection.
        address: `host[:port]`; None to use the addresses of the token.
        port: where an address names none.
        key: the server's key as the operator gave it, None without one.
        token: None without one.

    Raises:
        UsageError: an address or the key is malformed.
    """

    def __init__(
        self, folder: str, public: str, address: str | None, port: int, enroll_port: int, key: str | None = None,
        token: Token | None = None,
    ) -> None:  # fmt: skip
        texts = [address] if address or token is None else list(token.addresses)
        self.addresses = [split_address(text or "localhost", port) for text in texts]
        if key is not None and not keys.is_key(key):
            raise UsageError(f"--server-key {key}: expected the 40 characters of the key that the server's log shows")
        self.public = public
        self._folder, self._enroll_port = folder, enroll_port
        self._pinned = keys.pinned(folder) if folder else None
        if key and self._pinned and key != self._pinned:
            log.warning("trusts the server key %s of --server-key, and no longer %s", key, self._pinned)
        self._given = key
        self._contact: str | None = None  # what the enrolment port has said, until the server has proved it
        self._token = token
        if token and self.key != token.server_key:
            path = os.path.join(folder, "server.pub")
            log.warning("the token is not used: it is of another server than the one this client trusts (%s). "
                        "To change to that server, remove %s", self.key, path)  # fmt: skip
            self._token = None

    @property
    def shown(self) -> str:
        """The addresses, for logs."""
        return ", ".join(f"{host}:{port}" for host, port in self.addresses)

    @property
    def key(self) -> str | None:
        """The public key that this client trusts, None before it has asked for one."""
        return self._given or self._pinned or (self._token.server_key if self._token else None) or self._contact

    def credentials(self, name: str) -> tuple[str, str]:
        """Id and proof of the token for a request for this name; empty without one."""
        return (self._token.id, self._token.proof(self.public, name)) if self._token else ("", "")

    def find(self, number: int) -> tuple[str, int]:
        """A numeric address of the server, and its port; learns its key at the first contact.

        Args:
            number: of the try; the addresses take turns.

        Raises:
            DirectorError: the address cannot be looked up, or its enrolment port does not answer.
        """
        host, port = self.addresses[number % len(self.addresses)]
        if self.key is not None and self.key != self._contact:
            return resolve(host)[0], port
        address, self._contact = ask(host, self._enroll_port)
        return address, port

    def answered(self) -> None:
        """A server has answered over CURVE, so it has the key: trust a key of the first contact from now on."""
        if self._contact is not None and self.key == self._contact:
            log.info("trusts the server key %s from now on, as this is the first contact", self._contact)
            self._pinned, self._contact = self._contact, None
            self._keep(self._pinned)

    def welcomed(self) -> None:
        """The server with this key has welcomed this client: trust it from now on."""
        if self.key is not None and self.key != self._pinned:
            self._pinned = self.key
            self._keep(self.key)

    def _keep(self, key: str) -> None:
        if self._folder:
            keys.pin(self._folder, key)


def given_token(path: str | None) -> Token | None:
    """The token in DIRECTOR_TOKEN, in a file, or in the credentials of a systemd unit; None without one.

    Args:
        path: of the file that `--token-file` names.

    Raises:
        UsageError: it cannot be read, or is no token.
    """
    text = os.environ.get("DIRECTOR_TOKEN", "")
    unit = os.path.join(os.environ.get("CREDENTIALS_DIRECTORY", ""), CREDENTIAL)
    if not text and (path or (os.path.isabs(unit) and os.path.exists(unit))):
        try:
            with open(path or unit, encoding="ascii", errors="replace") as file:
                text = file.read(tokens.LENGTH_LIMIT + 1)
        except OSError as error:
            raise UsageError(f"the token file {path or unit} cannot be read: {error.strerror}") from error
    return tokens.decode(text) if text else None


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


def ask(host: str, port: int) -> tuple[str, str]:
    """The address of `host` whose enrolment port answers first, and the server's public key in Z85.

    Raises:
        DirectorError: none answers with a key.
    """
    why = ""
    for address in resolve(host):
        try:
            with socket.create_connection((address, port), timeout=TIMEOUT) as link, link.makefile("rb") as reader:
                link.sendall(ujson.dumps({"v": messages.VERSION}).encode() + b"\n")
                answer = ujson.loads(reader.readline(ANSWER_LIMIT))
            if keys.is_key(answer.get("server_key")):
                return address, str(answer["server_key"])
            why = str(answer.get("reason") or "it gives no key; is --enroll-port right?")
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
        except (ValueError, KeyError, TypeError, AttributeError):
            why = "it uses another protocol; is --enroll-port right?"
    raise DirectorError(f"no enrolment at {host}:{port}: {why}")

"""Key pairs in files with mode 0600, created at the first start: those of connections, and for secrets those of nodes.

A client's file has a second pair, of which the public half seals secrets for the node; it is made and replaced together
with the pair of the connection.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

import zmq
from zmq.utils import z85

from director.errors import StartError
from director.runtime.durable import write_private

KEY = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A public and a secret CURVE key, each 40 characters of Z85.

    Attributes:
        opening: secret keys, in Z85, that open what was sealed for this node: its own, and the one that it replaced.
    """

    public: str
    secret: str
    opening: tuple[str, ...] = ()

    @property
    def sealing(self) -> list[str]:
        """The public halves of `opening`."""
        return [zmq.curve_public(secret.encode()).decode() for secret in self.opening]


def is_key(text: object) -> bool:
    """Whether `text` has the form of a public key in Z85."""
    return isinstance(text, str) and KEY.fullmatch(text) is not None


def new_pair() -> KeyPair:
    """A new random pair; the public key does not look like an option of a command, as people give it as an argument."""
    public, secret = zmq.curve_keypair()
    while public.startswith(b"-"):
        public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def with_opening(pair: KeyPair, former: tuple[str, ...] = ()) -> KeyPair:
    """The pair with a new opening key, and the newest of those that it replaces."""
    return replace(pair, opening=(zmq.curve_keypair()[1].decode(), *former[:1]))


def raw(key: str) -> bytes:
    """The 32 bytes of a key in Z85."""
    return bytes(z85.decode(key))


def load_or_make(folder: str, name: str = "curve.key", opens: bool = False, former: tuple[str, ...] = ()) -> KeyPair:
    """The pair of the file `name` in `folder`, which is created when there is none; it is on disk then.

    Args:
        opens: whether it needs an opening key; one is made when the file has none.
        former: the opening keys of the pair that a new one replaces.

    Raises:
        StartError: the file cannot be read or written, or contains no pair.
    """
    path = os.path.join(folder, name)
    try:
        if not os.path.exists(path):
            _write(path, with_opening(new_pair(), former) if opens else new_pair())
        public, secret, *opening = _read(path).split()
    except OSError as error:
        raise StartError(f"the key file {path} cannot be used: {error.strerror}") from error
    except ValueError as error:
        raise StartError(f"the key file {path} contains no key pair; remove it to make a new one") from error
    whole = len(opening) <= 2 and all(map(is_key, (public, secret, *opening)))
    if not whole or zmq.curve_public(secret.encode()).decode() != public:
        raise StartError(f"the key file {path} contains no key pair; remove it to make a new one")
    pair = KeyPair(public, secret, tuple(opening))
    if not opens or opening or os.path.exists(f"{path}.new"):  # the pair that is to replace it, in the way of a write
        return pair
    return _with_opening_in(path, pair)


def _with_opening_in(path: str, pair: KeyPair) -> KeyPair:
    """The pair of a file that was written before nodes had opening keys. Raises StartError."""
    pair = with_opening(pair)
    try:
        _write(path, pair)
    except OSError as error:
        raise StartError(f"the key file {path} cannot be written: {error.strerror}") from error
    return pair


def _write(path: str, pair: KeyPair) -> None:
    write_private(path, "".join(f"{key}\n" for key in (pair.public, pair.secret, *pair.opening)).encode("ascii"))


def pinned(folder: str) -> str | None:
    """The server's public key that this client trusts, None before its first connection."""
    try:
        text = _read(os.path.join(folder, "server.pub")).strip()
    except FileNotFoundError:
        return None
    return text if is_key(text) else None


def pin(folder: str, public: str) -> None:
    """Trust the server with this public key from now on."""
    write_private(os.path.join(folder, "server.pub"), f"{public}\n".encode("ascii"))


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()

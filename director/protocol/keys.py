"""CURVE key pairs in files with mode 0600, created at the first start."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import zmq

from director.errors import StartError
from director.runtime.durable import write_private

KEY = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A public and a secret CURVE key, each 40 characters of Z85."""

    public: str
    secret: str


def is_key(text: object) -> bool:
    """Whether `text` has the form of a public key in Z85."""
    return isinstance(text, str) and KEY.fullmatch(text) is not None


def new_pair() -> KeyPair:
    """A new random pair; the public key does not look like an option of a command, as people give it as an argument."""
    public, secret = zmq.curve_keypair()
    while public.startswith(b"-"):
        public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def load_or_make(folder: str, name: str = "curve.key") -> KeyPair:
    """The pair of the file `name` in `folder`, which is created when there is none; it is on disk then.

    Raises:
        StartError: the file cannot be read or written, or contains no pair.
    """
    path = os.path.join(folder, name)
    try:
        if not os.path.exists(path):
            pair = new_pair()
            write_private(path, f"{pair.public}\n{pair.secret}\n".encode("ascii"))
        public, secret = _read(path).split()
    except OSError as error:
        raise StartError(f"the key file {path} cannot be used: {error.strerror}") from error
    except ValueError as error:
        raise StartError(f"the key file {path} contains no key pair; remove it to make a new one") from error
    if not (is_key(public) and is_key(secret)) or zmq.curve_public(secret.encode()).decode() != public:
        raise StartError(f"the key file {path} contains no key pair; remove it to make a new one")
    return KeyPair(public, secret)


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

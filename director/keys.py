"""CURVE key pairs on disk: made at first start, 0600, never in an image."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import zmq

from director.errors import StartError

KEY = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE pair, both halves as 40 characters of Z85."""

    public: str
    secret: str

    @property
    def fingerprint(self) -> str:
        """The public half, which is what people compare."""
        return self.public


def is_key(text: object) -> bool:
    """Whether `text` can be a public key in Z85."""
    return isinstance(text, str) and KEY.fullmatch(text) is not None


def load_or_make(folder: str, name: str = "curve") -> KeyPair:
    """The pair kept in `folder`, made when there is none.

    Raises:
        StartError: the file cannot be read or written, or holds no pair.
    """
    path = os.path.join(folder, f"{name}.key")
    try:
        if not os.path.exists(path):
            _write(path, "\n".join(part.decode() for part in zmq.curve_keypair()) + "\n")
        public, secret = _read(path).split()
    except OSError as error:
        raise StartError(f"the key file {path} cannot be used: {error.strerror}") from error
    except ValueError as error:
        raise StartError(f"the key file {path} holds no key pair; remove it to make a new one") from error
    if not (is_key(public) and is_key(secret)) or zmq.curve_public(secret.encode()).decode() != public:
        raise StartError(f"the key file {path} holds no key pair; remove it to make a new one")
    return KeyPair(public, secret)


def pinned(folder: str) -> str | None:
    """The server's public key that this client trusts, None when it has met no server."""
    try:
        text = _read(os.path.join(folder, "server.pub")).strip()
    except FileNotFoundError:
        return None
    return text if is_key(text) else None


def pin(folder: str, public: str) -> None:
    """Trust this server from now on."""
    _write(os.path.join(folder, "server.pub"), public + "\n")


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode("ascii"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(temporary, path)

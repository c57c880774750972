"""Enrolment tokens: one string with the addresses of a server, its public key, and a secret.

The secret is the seed of an Ed25519 key. The server stores only the public half, so a stolen ledger enrols nobody.
A client signs its request with the secret; the signature names both CURVE keys and the node, so it is of no use to
anybody else. PyNaCl is imported when a token is used, as that takes 25 ms.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from dataclasses import dataclass

from director.errors import UsageError
from director.protocol.keys import is_key

PREFIX = "director1_"
SEED_BYTES = 32
CHECKSUM = 8  # characters, hexadecimal
LENGTH_LIMIT = 4096  # characters of a token
ID_BYTES = 5
CONTEXT = b"director enrolment 1\0"


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says.

    Attributes:
        id: names the token in lists and logs; it is no secret.
        addresses: `host:port` of the server, the first to be tried first.
        server_key: the server's public CURVE key in Z85.
        seed: the secret, 32 bytes.
    """

    id: str
    addresses: tuple[str, ...]
    server_key: str
    seed: bytes

    def encode(self) -> str:
        """The string that a client is given."""
        fields = [self.id, self.addresses, self.server_key, _to_text(self.seed)]
        body = _to_text(json.dumps(fields, separators=(",", ":")).encode())
        return PREFIX + body + _checksum(body)

    def verify_key(self) -> str:
        """The public half of the secret, which the server stores; hexadecimal."""
        return self._signing_key().verify_key.encode().hex()

    def proof(self, client_key: str, name: str) -> str:
        """The signature for a request of the client with this public key for this name; hexadecimal."""
        signed = self._signing_key().sign(_statement(self.server_key, client_key, name))
        return bytes(signed.signature).hex()

    def _signing_key(self):  # type: ignore[no-untyped-def]  # a nacl.signing.SigningKey
        from nacl.signing import SigningKey

        return SigningKey(self.seed)


def new_token(addresses: tuple[str, ...], server_key: str) -> Token:
    """A token with a new secret."""
    return Token(os.urandom(ID_BYTES).hex(), addresses, server_key, os.urandom(SEED_BYTES))


def decode(text: str) -> Token:
    """Read a token.

    Raises:
        UsageError: it is no token, or a part of it is missing or changed.
    """
    text = text.strip()
    if not text.startswith(PREFIX) or len(text) > LENGTH_LIMIT:
        raise UsageError(f"that is no token; expected one line that begins with {PREFIX}")
    body = text[len(PREFIX) : -CHECKSUM]
    if _checksum(body) != text[-CHECKSUM:]:
        raise UsageError("the token is damaged: its checksum does not match; copy it as a whole")
    try:
        id, addresses, server_key, seed = json.loads(_from_text(body))
        token = Token(str(id), tuple(map(str, addresses)), str(server_key), _from_text(seed))
    except (ValueError, TypeError, binascii.Error) as error:
        raise UsageError("the token was made by another version of director; make a new one") from error
    if len(token.seed) != SEED_BYTES or not is_key(token.server_key) or not token.addresses:
        raise UsageError("the token was made by another version of director; make a new one")
    return token


def is_proof(proof: str, verify_key: str, server_key: str, client_key: str, name: str) -> bool:
    """Whether `proof` was made with the token's secret for this client key and name."""
    from nacl.exceptions import CryptoError
    from nacl.signing import VerifyKey

    try:
        VerifyKey(bytes.fromhex(verify_key)).verify(_statement(server_key, client_key, name), bytes.fromhex(proof))
    except (CryptoError, ValueError, TypeError):
        return False
    return True


def _statement(server_key: str, client_key: str, name: str) -> bytes:
    return CONTEXT + b"\0".join(text.encode() for text in (server_key, client_key, name))


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:CHECKSUM]


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_text(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)

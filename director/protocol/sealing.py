"""Secrets on their way: each value is encrypted once with a key of its own, and that key is sealed for each node.

The call of an operator does this, so the server and its ledger hold nothing that can be read. The box of a node says in
which job and in which steps of it the node may use a secret; the node checks that. PyNaCl is imported when a secret is
used, as that takes 25 ms.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from director import Any
from director.errors import VerbError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
SIZE_LIMIT = 64 * 1024  # bytes of a secret
SIZE_LEAST = 4  # bytes; a shorter one could not be masked in outputs
BOX_LIMIT = 64 * 1024  # bytes of what is sealed for one node
BATCH = 500  # boxes in one frame at the operator's socket
FORMER = "sealed for the former key"

Ranges = Sequence[Sequence[int]]  # of steps: first and last
Keys = dict[str, tuple[bytes, Ranges]]  # by name of the secret: its key, and the steps that may use it


def encrypt(value: bytes) -> tuple[bytes, bytes]:
    """A new key of 32 bytes, and the value encrypted with it."""
    from nacl.secret import SecretBox
    from nacl.utils import random

    key = random(SecretBox.KEY_SIZE)
    return key, bytes(SecretBox(key).encrypt(value))


def decrypt(key: bytes, cipher: bytes) -> bytes:
    """The value. Raises VerbError: it was encrypted with another key, or changed."""
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    try:
        return bytes(SecretBox(key).decrypt(cipher))
    except (CryptoError, ValueError, TypeError) as error:
        raise VerbError("it was changed on its way") from error


def content(job: str, keys: Keys) -> bytes:
    """What a box has: the job, and by name the key of each secret with the steps that may use it."""
    secrets = {name: [to_text(key), ranges] for name, (key, ranges) in keys.items()}
    return json.dumps([job, secrets], separators=(",", ":")).encode()


def seal(public: bytes, text: bytes) -> bytes:
    """`content` sealed for the node with this public key of 32 bytes."""
    from nacl.bindings import crypto_box_seal

    return bytes(crypto_box_seal(text, public))


def open_box(opening: Iterable[bytes], box: bytes, job: str) -> Keys:
    """The keys in a box.

    Args:
        opening: secret keys of the node, 32 bytes each.
        job: that it must be for.

    Raises:
        VerbError: it was sealed for another key, or is for another job.
    """
    from nacl.exceptions import CryptoError
    from nacl.public import PrivateKey, SealedBox

    for key in opening:
        try:
            of_job, secrets = json.loads(SealedBox(PrivateKey(key)).decrypt(box))
            if of_job != job:
                raise VerbError(f"its box is of the job {of_job}")
            return {str(name): (from_text(text), _ranges(ranges)) for name, (text, ranges) in secrets.items()}
        except CryptoError:
            continue
        except (ValueError, TypeError, AttributeError) as error:
            raise VerbError("its box is malformed") from error
    raise VerbError(FORMER)


def ranges_of(steps: Iterable[int]) -> list[list[int]]:
    """Step numbers as ranges `[first, last]`."""
    found: list[list[int]] = []
    for step in sorted(steps):
        if found and found[-1][1] == step - 1:
            found[-1][1] = step
        else:
            found.append([step, step])
    return found


def covers(ranges: Ranges, step: int) -> bool:
    """Whether a step is in one of the ranges."""
    return any(first <= step <= last for first, last in ranges)


def to_text(data: bytes) -> str:
    """Bytes for JSON."""
    return base64.b64encode(data).decode()


def from_text(text: Any) -> bytes:
    """The bytes again. Raises ValueError: it is no such text."""
    if not isinstance(text, str):
        raise ValueError("not base64")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def _ranges(value: Any) -> list[tuple[int, int]]:
    return [(int(first), int(last)) for first, last in value]


def missing(names: Iterable[str], given: Iterable[str] | Mapping[str, object]) -> str:
    """What to do about the secrets that steps use and nobody gave; "" when all are there."""
    left = sorted(set(names) - set(given))
    if not left:
        return ""
    return (
        f"the secret {left[0]} is not given; add --secret id={left[0]},src=FILE or --secret id={left[0]},env=VARIABLE"
    )

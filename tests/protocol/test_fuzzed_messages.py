"""Fuzzed messages through the decoder: each is taken or refused with a ProtocolError, whatever it holds.

FUZZED sets how many; a million were run by hand.
"""

from __future__ import annotations

import contextlib
import os

from fuzz import Fuzz

from director.errors import ProtocolError
from director.protocol import messages
from director.protocol.packing import unpack

COUNT = int(os.environ.get("FUZZED", "20000"))


def test_the_decoder_refuses_or_takes_every_message() -> None:
    fuzz, taken = Fuzz(1), 0
    for _ in range(COUNT):
        parts = unpack(fuzz.frame())
        with contextlib.suppress(ProtocolError):
            kind, fields, payload = messages.decode(parts, "client")
            assert kind in messages.KINDS and isinstance(fields, dict) and isinstance(payload, list)
            taken += 1
    assert COUNT // 20 < taken < COUNT, "both happen"

"""A message of several parts in one frame."""

from __future__ import annotations

import struct
from collections.abc import Sequence

PARTS_LIMIT = 2048  # of one message


def pack(parts: Sequence[bytes]) -> bytes:
    """All parts of a message in one frame; a single part is the frame itself and must not begin with a zero byte.

    With several frames the library may drop the connection between two of them, and aborts the process when the
    second one is read (libzmq 4.3, `fq.cpp`, with ZMQ_IMMEDIATE). Also, it encrypts each frame by itself.
    """
    if len(parts) == 1:
        return parts[0]
    return b"".join((struct.pack(f">xI{len(parts)}I", len(parts), *map(len, parts)), *parts))


def unpack(frame: bytes | memoryview) -> list[bytes]:
    """The parts of a message; a frame that is not well packed is one part, which `messages.decode` refuses."""
    if not frame or frame[0] or len(frame) < 5:
        return [bytes(frame)]
    (count,) = struct.unpack_from(">I", frame, 1)
    at = 5 + 4 * count
    if not 2 <= count <= PARTS_LIMIT or len(frame) < at:
        return [bytes(frame)]
    sizes = struct.unpack_from(f">{count}I", frame, 5)
    if at + sum(sizes) != len(frame):
        return [bytes(frame)]
    parts = []
    for size in sizes:
        parts.append(bytes(frame[at : at + size]))
        at += size
    return parts

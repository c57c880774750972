"""The messages between server and clients: kinds, who may send them, their fields and bounds.

A message is a list of parts: the first is JSON `[kind, {field: value}]`, the rest are raw bytes; `transport`
packs them into one ZeroMQ frame.
`docs/protocol.md` describes every kind. Everything is checked here, before any handler sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ujson

from director.errors import ProtocolError

VERSION = 4
STEPS_PER_CHUNK = 256  # encoded together; the same bytes go to every node
HEADER_LIMIT = 4 * 1024 * 1024
PAYLOAD_LIMIT = 64 * 1024 * 1024
OFFER_LIMIT = 4 * 1024 * 1024  # a piece of a file, or a part of a list of files

NUMBER = (int, float)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of message.

    Attributes:
        sender: `client` or `server`.
        fields: required field names and their types.
        header: largest first part in bytes.
        payload: largest sum of the other parts in bytes.
        frames: most parts behind the first.
    """

    sender: str
    fields: Mapping[str, type | tuple[type, ...]]
    header: int = 4096
    payload: int = 0
    frames: int = 0


KINDS: dict[str, Kind] = {
    # client to server
    "hello": Kind(
        "client",
        {"v": int, "name": str, "version": str, "instance": str, "mark": int, "held": list},
        HEADER_LIMIT,
    ),
    "heartbeat": Kind("client", {"mark": int}),
    "results": Kind("client", {"n": int, "mark": int, "jobs": list}, HEADER_LIMIT, PAYLOAD_LIMIT, 1),
    "profile": Kind("client", {"facts": dict, "labels": dict, "args": dict}, 1024 * 1024),
    "blob_get": Kind("client", {"job": str, "digest": str, "offset": int, "length": int}),
    "query": Kind("client", {"job": str, "step": int, "name": str}, 16384),
    "run_once_wait": Kind("client", {"job": str, "step": int}),
    "borrow": Kind("client", {"job": str, "step": int, "set": int}),
    "offer": Kind(
        "client",
        {"job": str, "step": int, "set": int, "part": int, "parts": int, "error": str},
        16384,
        OFFER_LIMIT,
        1,
    ),
    "piece": Kind(
        "client",
        {"job": str, "step": int, "set": int, "file": int, "offset": int, "error": str},
        16384,
        OFFER_LIMIT,
        1,
    ),
    "dry_run_result": Kind("client", {"req": int, "error": str, "sets": dict}, 1024 * 1024, 16 * 1024 * 1024, 1),
    "goodbye": Kind("client", {"reason": str}),
    # server to client
    "identify": Kind("server", {"v": int, "within": NUMBER}),
    "welcome": Kind("server", {"v": int, "beat": NUMBER, "now": NUMBER, "jobs": dict}, HEADER_LIMIT),
    "refused": Kind("server", {"reason": str, "retry": NUMBER}),
    "slice": Kind("server", {"seq": int, "job": str, "chunk": int, "parts": list}, HEADER_LIMIT, PAYLOAD_LIMIT, 2),
    "ack": Kind("server", {"n": int, "close": list}, 1024 * 1024),
    "cancel": Kind("server", {"jobs": list}, 1024 * 1024),
    "run_once_ended": Kind("server", {"job": str, "step": int, "error": str}),
    "heartbeat_ack": Kind("server", {}),
    "blob_piece": Kind("server", {"digest": str, "offset": int, "error": str}, 4096, PAYLOAD_LIMIT, 1),
    "dry_run": Kind(
        "server",
        {"req": int, "head": dict, "parts": list, "query": dict, "watch": list, "chunks": int, "contents": list},
        HEADER_LIMIT,
        PAYLOAD_LIMIT,
        2000,
    ),
    "query_values": Kind("server", {"job": str, "step": int, "error": str, "why": str}, 65536, OFFER_LIMIT, 1),
    "sources": Kind("server", {"job": str, "step": int, "error": str, "why": str}, 65536, OFFER_LIMIT, 1),
    "lend": Kind("server", {"job": str, "step": int, "set": int, "patterns": list, "exclude": list}, HEADER_LIMIT),
    "pull": Kind("server", {"job": str, "step": int, "set": int, "pieces": list}, 65536),
    "stored": Kind(
        "server",
        {"job": str, "step": int, "set": int, "error": str, "changed": bool},
        65536,
        OFFER_LIMIT,
        1,
    ),
}


def encode(kind: str, **fields: Any) -> bytes:
    """The first frame of a message."""
    return ujson.dumps((kind, fields)).encode()


def decode(frames: list[bytes], sender: str) -> tuple[str, dict[str, Any], list[bytes]]:
    """Kind, fields and payload frames of a message that came from `sender`.

    Raises:
        ProtocolError: unknown kind, wrong sender, a field that is missing or of the wrong type, a bound passed.
    """
    head = frames[0]
    if len(head) > HEADER_LIMIT:
        raise ProtocolError(f"a header of {len(head)} bytes")
    try:
        kind, fields = ujson.loads(head)
    except (ValueError, TypeError, RecursionError) as error:
        raise ProtocolError("a header that is not [kind, fields]") from error
    if not isinstance(kind, str) or not isinstance(fields, dict):
        raise ProtocolError("a header that is not [kind, fields]")
    _check(kind, fields, frames, sender)
    return kind, fields, frames[1:]


def _check(kind: str, fields: dict[str, Any], frames: list[bytes], sender: str) -> None:
    spec = KINDS.get(kind)
    if spec is None or spec.sender != sender:
        raise ProtocolError(f"a {sender} may not send {kind[:40]!r}")
    if len(frames[0]) > spec.header or len(frames) - 1 > spec.frames:
        raise ProtocolError(f"{kind} is larger than allowed")
    if len(frames) > 1 and sum(map(len, frames)) - len(frames[0]) > spec.payload:
        raise ProtocolError(f"{kind} carries more than allowed")
    for name, types in spec.fields.items():
        if not isinstance(fields.get(name), types):
            raise ProtocolError(f"{kind} without a proper {name}")

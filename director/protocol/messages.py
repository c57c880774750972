"""The messages between server and clients: kinds, who sends them, their fields and bounds.

A message is a list of parts: the first is JSON `[kind, {field: value}]`, the others are raw bytes; `transport`
packs them into one ZeroMQ frame. `docs/protocol.md` describes every kind. `decode` checks each message before a
handler gets it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ujson

from director.errors import ProtocolError

VERSION = 6
STEPS_PER_CHUNK = 256  # at most, also of all chunks of one slice
HEADER_LIMIT = 4 * 1024 * 1024
PAYLOAD_LIMIT = 64 * 1024 * 1024
RESULTS_LIMIT = 8 * 1024 * 1024  # bytes of outputs in one message; clients send 4 MiB at most
OFFER_LIMIT = 4 * 1024 * 1024  # bytes of a piece of a file, or of a part of a list of files
SECRETS_LIMIT = 64  # of a job
PIECES_LIMIT = 64 * 1024  # bytes of live output in one message
DEPTH_LIMIT = 64  # of lists and objects in what a node says that the server keeps

NUMBER = (int, float)
WHOLE_LIMIT = 1 << 53  # whole numbers are smaller, so that every store and JSON reader supports them


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of message.

    Attributes:
        sender: `client`, `server` or `both`.
        fields: the required fields and their types.
        header: the largest first part in bytes.
        payload: the largest sum of the other parts in bytes.
        frames: the most parts after the first; at most one for what a client sends.
    """

    sender: str
    fields: Mapping[str, type | tuple[type, ...]]
    header: int = 4096
    payload: int = 0
    frames: int = 0


TASK = {"job": str, "step": int}
SOURCES = {**TASK, "set": int}
ANSWER = {**TASK, "error": str, "why": str}

KINDS: dict[str, Kind] = {
    # client to server; a key that is no node may send `enroll` only
    "enroll": Kind("client", {"v": int, "name": str, "version": str, "token": str, "proof": str}, 2048),
    "hello": Kind(
        "client",
        {"v": int, "name": str, "version": str, "instance": str, "journal_position": int, "jobs": list},
        HEADER_LIMIT,
    ),
    "heartbeat": Kind("client", {"journal_position": int}),
    "results": Kind("client", {"number": int, "journal_position": int, "jobs": list}, HEADER_LIMIT, RESULTS_LIMIT, 1),
    "profile": Kind("client", {"facts": dict, "args": dict}, 1024 * 1024),
    "query": Kind("client", {**TASK, "name": str}, 16384),
    "run_once_wait": Kind("client", TASK),
    "secrets_get": Kind("client", TASK),
    "borrow": Kind("client", SOURCES),
    "offer": Kind("client", {**SOURCES, "part": int, "parts": int, "error": str}, 16384, OFFER_LIMIT, 1),
    "dry_run_result": Kind("client", {"req": int, "error": str, "sets": dict}, 1024 * 1024, 16 * 1024 * 1024, 1),
    "output": Kind("client", {"pieces": list}, 65536, PIECES_LIMIT, 1),
    "new_key": Kind("client", {"key": str}),
    "goodbye": Kind("client", {"reason": str}),
    # server to client
    "identify": Kind("server", {"v": int, "within": NUMBER, "known": bool}),
    "welcome": Kind(
        "server", {"v": int, "interval": NUMBER, "now": NUMBER, "jobs": dict, "labels": dict}, HEADER_LIMIT
    ),
    "labels": Kind("server", {"labels": dict}, 1024 * 1024),
    "refused": Kind("server", {"reason": str, "retry": NUMBER}),
    "slice": Kind("server", {"seq": int, "job": str, "parts": list}, HEADER_LIMIT, PAYLOAD_LIMIT, 1 + STEPS_PER_CHUNK),
    "ack": Kind("server", {"number": int, "close": list}, 1024 * 1024),
    "cancel": Kind("server", {"jobs": list}, 1024 * 1024),
    "follow": Kind("server", {"job": str, "on": bool, "anew": bool, "every": NUMBER, "most": int}),
    "run_once_ended": Kind("server", {**TASK, "error": str}),
    "heartbeat_ack": Kind("server", {}),
    "rotate": Kind("server", {}),
    "key_noted": Kind("server", {"key": str}),
    "dry_run": Kind(
        "server",
        {"req": int, "head": dict, "parts": list, "query": dict, "watch": list, "contents": list},
        HEADER_LIMIT,
        PAYLOAD_LIMIT,
        2000,
    ),
    "query_values": Kind("server", ANSWER, 65536, OFFER_LIMIT, 1),
    "sources": Kind("server", ANSWER, 65536, OFFER_LIMIT, 1),
    "secrets": Kind("server", {**TASK, "error": str, "names": list}, 65536, 2 * OFFER_LIMIT, 1 + SECRETS_LIMIT),
    "lend": Kind("server", {**SOURCES, "patterns": list, "exclude": list}, HEADER_LIMIT),
    "stored": Kind("server", {**SOURCES, "error": str, "changed": bool}, 65536, OFFER_LIMIT, 1),
    # who receives contents requests them, who sends them answers
    "get": Kind("both", {**SOURCES, "ranges": list, "anew": bool}, 65536),
    "contents": Kind("both", {**SOURCES, "ranges": list, "error": str}, 65536, OFFER_LIMIT, 1),
}


def encode(kind: str, **fields: Any) -> bytes:
    """The first part of a message."""
    return ujson.dumps((kind, fields)).encode()


def kind_of(head: bytes) -> str:
    """The kind that a first part names, before anything of it is parsed; "" when it names none."""
    if head[:2] != b'["':
        return ""
    kind = head[2:34].partition(b'"')[0].decode("ascii", "replace")
    return kind if kind in KINDS else ""


def decode(frames: list[bytes], sender: str) -> tuple[str, dict[str, Any], list[bytes]]:
    """Kind, fields and payload parts of a message that came from `sender`.

    Raises:
        ProtocolError: the kind is unknown or not the sender's, a field is missing or of the wrong type, or a part
            is larger than its bound, which is checked before anything is parsed.
    """
    head = frames[0]
    kind = kind_of(head)
    spec = KINDS.get(kind)
    if spec is None or spec.sender not in (sender, "both"):
        raise ProtocolError(f"a {sender} may not send {bytes(head[:40])!r}")
    _check_sizes(kind, spec, frames)
    try:
        _, fields = ujson.loads(head)
    except (ValueError, TypeError, RecursionError) as error:
        raise ProtocolError("a header that is not [kind, fields]") from error
    if not isinstance(fields, dict):
        raise ProtocolError("a header that is not [kind, fields]")
    for name, types in spec.fields.items():
        value = fields.get(name)
        if not isinstance(value, types) or (isinstance(value, int) and abs(value) >= WHOLE_LIMIT):
            raise ProtocolError(f"{kind} without a proper {name}")
    return kind, fields, frames[1:]


def _check_sizes(kind: str, spec: Kind, frames: list[bytes]) -> None:
    if len(frames[0]) > spec.header or len(frames) - 1 > spec.frames:
        raise ProtocolError(f"{kind} is larger than allowed")
    if len(frames) > 1 and sum(map(len, frames)) - len(frames[0]) > spec.payload:
        raise ProtocolError(f"{kind} carries more than allowed")


def number(value: Any) -> float:
    """A number of an optional field; 0.0 for anything else."""
    return float(value) if isinstance(value, NUMBER) and abs(value) < 1e11 else 0.0


def is_shallow(value: Any, depth: int = DEPTH_LIMIT) -> bool:
    """Whether a JSON value has at most `depth` levels, so that it can be encoded again as a part of others."""
    if not isinstance(value, (dict, list)):
        return True
    parts = value.values() if isinstance(value, dict) else value
    return depth > 0 and all([is_shallow(part, depth - 1) for part in parts])

"""Local callers that announce or send as much as they can: the server's memory is bounded, others are served."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from harness import Fleet

from director.api.callers_room import OF_USER
from director.protocol.framing import BODY_LIMIT, HEADER_LIMIT, Channel

MIB = 1 << 20
CALLERS = 40


def memory(fleet: Fleet) -> int:
    """Bytes of the server process."""
    return int(Path(f"/proc/{fleet.pid('server')}/statm").read_text().split()[1]) * 4096


def connected(fleet: Fleet, stack: contextlib.ExitStack) -> socket.socket:
    """A connection to the operator's socket."""
    peer = stack.enter_context(socket.socket(socket.AF_UNIX))
    peer.settimeout(60)
    peer.connect(str(fleet.socket_path))
    return peer


def test_callers_that_announce_much_take_no_memory(fleet: Fleet) -> None:
    before = memory(fleet)
    with contextlib.ExitStack() as stack:
        for head, body in ((HEADER_LIMIT, BODY_LIMIT), (HEADER_LIMIT, 0)):
            for _ in range(CALLERS):
                peer = connected(fleet, stack)
                peer.sendall(head.to_bytes(4, "big") + body.to_bytes(4, "big") + b" " * 1000)
        assert fleet.director("--list-nodes").returncode == 0
        assert memory(fleet) - before < 40 * MIB


def test_callers_that_send_much_are_refused_with_a_reason(fleet: Fleet) -> None:
    before, size = memory(fleet), HEADER_LIMIT - MIB
    with contextlib.ExitStack() as stack:
        peers = [connected(fleet, stack) for _ in range(2 * OF_USER // size)]
        for peer in peers:
            with contextlib.suppress(TimeoutError):
                peer.sendall(size.to_bytes(4, "big") + bytes(4) + b" " * (size - 1))
        assert fleet.director("--list-nodes").returncode == 0
        assert memory(fleet) - before < OF_USER + 60 * MIB
        refused = peers[-1]
        refused.sendall(b" ")
        answer = Channel(refused).receive()
        assert answer is not None and "try again" in answer[0]["error"] and answer[0]["exit"] == 1
    assert fleet.director("--list-nodes").returncode == 0

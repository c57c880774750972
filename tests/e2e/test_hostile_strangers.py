"""Peers without any key or name crowd both ports: new clients get in, nodes go on, memory stays."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

import zmq
from harness import Fleet, wait_until
from simulation.stranger import stranger

from director.protocol import messages
from director.protocol.packing import pack

MIB = 1 << 20
SILENT = 1600


def memory(fleet: Fleet) -> int:
    """Bytes of the server process."""
    return int(Path(f"/proc/{fleet.pid('server')}/statm").read_text().split()[1]) * 4096


def crowd(port: int, count: int, stack: contextlib.ExitStack, data: bytes = b"") -> list[socket.socket]:
    """Connections that say nothing more than `data`; they end without a wait."""
    made = []
    for _ in range(count):
        peer = stack.enter_context(socket.socket())
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.settimeout(60)
        peer.connect(("127.0.0.1", port))
        with contextlib.suppress(OSError):
            peer.sendall(data)
        made.append(peer)
    return made


def open_connections(fleet: Fleet, port: int) -> int:
    """Established connections that the server has at a port."""
    rows = Path(f"/proc/{fleet.pid('server')}/net/tcp").read_text().split("\n")[1:-1]
    ours = {path.readlink().name for path in Path(f"/proc/{fleet.pid('server')}/fd").iterdir() if path.is_symlink()}
    return sum(
        row.split()[1].endswith(f":{port:04X}") and row.split()[3] == "01" and f"socket:[{row.split()[9]}]" in ours
        for row in rows
    )


def test_silent_connections_at_both_ports_keep_nobody_out(fleet: Fleet) -> None:
    before = memory(fleet)
    with contextlib.ExitStack() as stack:
        crowd(fleet.enroll_port, SILENT, stack)
        crowd(fleet.port, SILENT, stack, b"\xff" + bytes(8) + b"\x7f")
        fleet.start_client("web")
        fleet.wait_online(["web"], 30)
        assert fleet.run_json("--exec", "RUN true", "--target", "web", "--wait")["state"] == "success"
        wait_until(lambda: open_connections(fleet, fleet.port) < 1100, "the oldest are ended")
        assert memory(fleet) - before < 60 * MIB
    assert "the connection of a stranger is ended" in fleet.log("server")


def test_a_stranger_that_sends_much_is_ended(fleet: Fleet) -> None:
    key = (fleet.folder / "server" / "server" / "curve.key").read_text().split()[0]
    fleet.start_client("web")
    fleet.wait_online(["web"])
    before = memory(fleet)
    with stranger(fleet.port, key) as peer:
        frame = pack([messages.encode("results", number=1, journal_position=1, jobs=[]), bytes(4 * MIB)])
        for _ in range(200):
            with contextlib.suppress(zmq.Again):
                peer.socket.send(frame, zmq.NOBLOCK)
        wait_until(lambda: "KiB without a node's key" in fleet.log("server"), "it is ended")
    assert fleet.run_json("--exec", "RUN true", "--target", "web", "--wait")["state"] == "success"
    assert memory(fleet) - before < 100 * MIB


def test_a_key_may_ask_for_names_a_few_times_only(fleet: Fleet) -> None:
    key = (fleet.folder / "server" / "server" / "curve.key").read_text().split()[0]
    with stranger(fleet.port, key) as peer:
        fields = {"v": messages.VERSION, "version": "1", "token": "", "proof": ""}
        for number in range(30):
            peer.send("enroll", name=f"made-up-{number}", **fields)
        wait_until(lambda: (peer.next("refused", 0.2) or {}).get("reason", "").endswith("too often"), "it is refused")
    assert len(fleet.nodes()) <= 4

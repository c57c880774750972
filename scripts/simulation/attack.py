"""Attacks on a server's ports for a while: `python -m simulation.attack node|strangers --port N …`.

`node` is an enrolled node that sends facts, offers, results, requests for files and noise as fast as its connection
takes them, and comes back whenever it was cut off. `strangers` have no name: half-open connections at both ports, each
opened again when the server ends it, and beside them messages at full speed from a key that nobody knows.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import ujson
import zmq

from director.protocol import messages
from director.protocol.context import raise_descriptor_limit
from director.protocol.packing import pack
from simulation.stranger import stranger

MIB = 1 << 20
BEGINNING_OF_A_GREETING = b"\xff" + bytes(8) + b"\x7f"


def profile(number: int) -> bytes:
    """0.8 MiB of facts that are new each time."""
    return pack([messages.encode("profile", facts={"n": number, "x": "y" * 800_000}, args={})])


def offer(number: int) -> bytes:
    """A list of a hundred enormous files that nobody asked for."""
    rows = [["file", f"f{n}", 0o644, 1 << 42, f"{number + n:064x}", "", ""] for n in range(100)]
    where = {"job": "j", "step": 0, "set": 0, "part": number % 70, "parts": 71}
    return pack([messages.encode("offer", **where, error=""), ujson.dumps(rows).encode()])


def results(number: int) -> bytes:
    """A result, with 1 MiB of output, of a task that the node never had."""
    row = [number, "S", 0, 1.0, 2.0, 0.1, 0.0, 1, None, 0, MIB, 0, None]
    jobs = [["f" * 16, [row], [], []]]
    return pack([messages.encode("results", number=number, journal_position=number, jobs=jobs), bytes(MIB)])


def get(number: int) -> bytes:
    """A request for a file that was not offered."""
    return pack([messages.encode("get", job="j", step=0, set=0, ranges=[[f"{number:064x}", 0, MIB]], anew=False)])


def noise(number: int) -> bytes:
    """No message."""
    return pack([b'["results",' + b"[" * 5000, bytes(100)]) if number % 2 else b"[" * 2000


FRAMES: Sequence[Callable[[int], bytes]] = (profile, offer, results, get, noise)


def main() -> int:
    """Attack until the time is over, then print what was done."""
    parser = argparse.ArgumentParser(prog="simulation.attack", description=__doc__)
    parser.add_argument("who", choices=("node", "strangers"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--enroll-port", type=int, required=True)
    parser.add_argument("--key", required=True, help="the server's public key")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--connections", type=int, default=10_000)
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    if options.who == "node":
        print(f"{_attack_as_node(options, end)} messages")
    else:
        print(_attack_as_strangers(options, end))
    return 0


def _attack_as_node(options: argparse.Namespace, end: float) -> int:
    """Send in turn what a client never sends; returns how many messages the connections took."""
    sent, pair = 0, None
    numbers = itertools.count()
    while time.monotonic() < end:
        with stranger(options.port, options.key, pair) as peer:
            if pair is None:
                peer.enroll("hostile")
            pair = peer.pair
            if peer.hello("hostile") is None:
                continue  # it is kept out for a while
            while time.monotonic() < end:
                number = next(numbers)
                frame = FRAMES[number // 20 % len(FRAMES)](number)
                if not peer.socket.poll(1000, zmq.POLLOUT):
                    break  # it was cut off
                with contextlib.suppress(zmq.Again):
                    peer.socket.send(frame, zmq.NOBLOCK)
                    sent += 1
    return sent


def _attack_as_strangers(options: argparse.Namespace, end: float) -> str:
    """Keep the connections half open, and send; returns how many of each there were."""
    raise_descriptor_limit()
    flood, opened, sent = results(0), 0, 0
    with contextlib.ExitStack() as stack:
        places = [(options.port, BEGINNING_OF_A_GREETING), (options.enroll_port, b"")]
        peers = [(place, stack.enter_context(_half_open(*place))) for place in _turns(places, options.connections)]
        opened += len(peers)
        sys.stdout.write("open\n")
        sys.stdout.flush()
        while time.monotonic() < end:
            with stranger(options.port, options.key) as peer, contextlib.suppress(zmq.Again):
                for _ in range(20):
                    peer.socket.send(flood, zmq.NOBLOCK)
                    sent += 1
            for index in range(os.urandom(1)[0], len(peers), 100):
                place, old = peers[index]
                if _is_ended(old):
                    old.close()
                    peers[index] = place, stack.enter_context(_half_open(*place))
                    opened += 1
    return f"{opened} connections, {sent} messages"


def _turns(places: Sequence[tuple[int, bytes]], count: int) -> Iterator[tuple[int, bytes]]:
    return itertools.islice(itertools.cycle(places), count)


def _half_open(port: int, data: bytes) -> socket.socket:
    """A connection that says nothing more than `data`; it ends without a wait."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.settimeout(10)
    with contextlib.suppress(OSError):
        peer.connect(("127.0.0.1", port))
        peer.sendall(data)
    peer.setblocking(False)
    return peer


def _is_ended(peer: socket.socket) -> bool:
    try:
        while peer.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


if __name__ == "__main__":
    sys.exit(main())

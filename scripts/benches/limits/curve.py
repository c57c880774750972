"""Bare pyzmq with CURVE: N DEALERs on one ROUTER, one message out and one back for each; prints JSON.

    python -m benches.limits.curve N ROUNDS PROCESSES

The ROUTER is alone in this process, so that its memory is the memory of its peers; the DEALERs are in others.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time

import zmq

from benches import machine
from benches.fleet import free_ports

MESSAGE = bytes(256)


def main() -> None:
    """The ROUTER, or with `--dealers` the DEALERs of one process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.argv[1] == "--dealers":
        count, rounds, port = map(int, sys.argv[2:5])
        dealers(count, rounds, port, sys.argv[5].encode())
    else:
        count, rounds, processes = map(int, sys.argv[1:4])
        print(json.dumps(router(count, rounds, processes)))


def router(count: int, rounds: int, processes: int) -> dict[str, object]:
    """Seconds to connect all and of each round, CPU seconds a round, memory in MB before and with all peers."""
    public, secret = zmq.curve_keypair()
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.set(zmq.CURVE_SERVER, 1)
    socket.set(zmq.CURVE_SECRETKEY, secret)
    socket.set(zmq.BACKLOG, 4096)
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.RCVTIMEO, 120_000)
    (port,) = free_ports(1)
    socket.bind(f"tcp://127.0.0.1:{port}")
    empty = machine.pss([os.getpid()])
    began = time.perf_counter()
    children = [
        subprocess.Popen([sys.executable, "-m", "benches.limits.curve", "--dealers", str(share), str(rounds),
                          str(port), public.decode()])
        for share in (count // processes + (n < count % processes) for n in range(processes))
    ]  # fmt: skip
    try:
        peers = [socket.recv_multipart()[0] for _ in range(count)]
        connected = time.perf_counter() - began
        used = time.process_time()
        seconds = [_round(socket, peers) for _ in range(rounds)]
        used = (time.process_time() - used) / rounds
        full = machine.pss([os.getpid()])
    finally:
        for child in children:
            child.terminate()
            child.wait()
    return {"connect": connected, "rounds": seconds, "cpu": used, "empty": empty, "full": full}


def _round(socket: zmq.Socket[bytes], peers: list[bytes]) -> float:
    began = time.perf_counter()
    for peer in peers:
        socket.send_multipart((peer, MESSAGE))
    for _ in peers:
        socket.recv_multipart()
    return time.perf_counter() - began


def dealers(count: int, rounds: int, port: int, server: bytes) -> None:
    """Say hello from each, then answer each once a round; no poller is needed, as every one is asked once."""
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, count + 10)
    sockets = []
    for _ in range(count):
        socket = context.socket(zmq.DEALER)
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.curve_serverkey = server
        socket.set(zmq.LINGER, 0)
        socket.connect(f"tcp://127.0.0.1:{port}")
        socket.send(b"hello")
        sockets.append(socket)
    for _ in range(rounds):
        for socket in sockets:
            socket.recv()
            socket.send(MESSAGE)
    time.sleep(600)  # stay connected until the router has measured itself and ends us


if __name__ == "__main__":
    main()

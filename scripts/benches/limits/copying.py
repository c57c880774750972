"""Bare pyzmq with CURVE: one file to N receivers, each a process that hashes and writes it; prints the seconds.

python -m benches.limits.copying FILE N FOLDER
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time

import zmq

from benches.fleet import free_ports

PIECE = 1024 * 1024


def main() -> None:
    """The sender, or with `--receive` one receiver."""
    if sys.argv[1] == "--receive":
        receive(int(sys.argv[2]), sys.argv[3].encode(), int(sys.argv[4]), sys.argv[5])
    else:
        print(send(sys.argv[1], int(sys.argv[2]), sys.argv[3]))


def send(path: str, count: int, folder: str) -> float:
    """Seconds from the first piece to the last receiver's word that all is written."""
    public, secret = zmq.curve_keypair()
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.set(zmq.CURVE_SERVER, 1)
    socket.set(zmq.CURVE_SECRETKEY, secret)
    socket.set(zmq.SNDHWM, 0)
    socket.set(zmq.RCVTIMEO, 120_000)
    (port,) = free_ports(1)
    socket.bind(f"tcp://127.0.0.1:{port}")
    words = [sys.executable, "-m", "benches.limits.copying", "--receive", str(port), public.decode()]
    size = str(os.path.getsize(path))
    children = [subprocess.Popen([*words, size, os.path.join(folder, f"bare-{n}")]) for n in range(count)]
    try:
        peers = [socket.recv_multipart()[0] for _ in children]
        began = time.perf_counter()
        with open(path, "rb") as file:
            while piece := file.read(PIECE):
                for peer in peers:
                    socket.send_multipart((peer, piece))
        for _ in peers:
            socket.recv_multipart()
        return time.perf_counter() - began
    finally:
        for child in children:
            child.terminate()
            child.wait()


def receive(port: int, server: bytes, size: int, path: str) -> None:
    """Hash and write what comes, say so."""
    socket = zmq.Context().socket(zmq.DEALER)
    socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
    socket.curve_serverkey = server
    socket.connect(f"tcp://127.0.0.1:{port}")
    socket.send(b"hello")
    sha = hashlib.sha256()
    with open(path, "wb", buffering=0) as file:
        while size:
            piece = socket.recv()
            sha.update(piece)
            size -= file.write(piece)
    socket.send(b"done")
    time.sleep(60)  # until the sender has heard all and ends us


if __name__ == "__main__":
    main()

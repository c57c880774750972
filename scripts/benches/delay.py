"""A proxy for TCP that passes on each byte after a while, and what one stream gets through it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections import deque

READ = 256 * 1024
AHEAD = 256 << 20  # bytes that are on their way, at most


class Delay:
    """A process that listens at `port` of the loopback and connects to `to`; `seconds` each way."""

    def __init__(self, to: int, seconds: float) -> None:
        words = [sys.executable, "-m", "benches.delay", str(to), str(seconds)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Delay:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def stream(size: int, seconds: float) -> float:
    """Seconds from a connection through such a proxy to the last of so many bytes that the other end sends."""
    with socket.create_server(("127.0.0.1", 0)) as listener, Delay(listener.getsockname()[1], seconds) as proxy:

        def send() -> None:
            peer, piece = listener.accept()[0], bytes(READ)
            with peer:
                peer.recv(1)
                for _ in range(size // READ):
                    peer.sendall(piece)

        sender = threading.Thread(target=send)
        sender.start()
        began, left = time.perf_counter(), size // READ * READ
        with socket.create_connection(("127.0.0.1", proxy.port)) as peer:
            peer.sendall(b"x")
            while left:
                left -= len(peer.recv(READ))
        sender.join()
        return time.perf_counter() - began


def _pass(source: socket.socket, sink: socket.socket, seconds: float) -> None:
    """Two threads: one reads and notes when, one writes what is due."""
    waiting: deque[tuple[float, bytes]] = deque()
    some = threading.Semaphore(0)

    def write() -> None:
        while True:
            some.acquire()
            due, data = waiting.popleft()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(data)

    threading.Thread(target=write, daemon=True).start()
    data = b"x"
    while data:
        while len(waiting) * READ > AHEAD:
            time.sleep(0.001)
        try:
            data = source.recv(READ)
        except OSError:
            data = b""
        waiting.append((time.monotonic() + seconds, data))
        some.release()


def main() -> None:
    """Print the port, then pass on until killed."""
    to, seconds = int(sys.argv[1]), float(sys.argv[2])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            near = listener.accept()[0]
            far = socket.create_connection(("127.0.0.1", to))
            for ends in ((near, far), (far, near)):
                threading.Thread(target=_pass, args=(*ends, seconds), daemon=True).start()


if __name__ == "__main__":
    main()

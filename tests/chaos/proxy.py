"""A TCP proxy that breaks connections on order: cut, one way only, half open, slow, lossy.

One process for the whole fleet. It reads orders from standard input, a JSON object a line:
`{"open": NAME, "listen": port, "to": port}` and `{"mode": {…}, "names": [NAME, …]}`; it answers each with `ok`.
What a lossy network does to TCP is a stall, so loss is made of stalls; the order of bytes is always kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import sys
import time
from typing import Any

CHUNK = 64 * 1024
QUEUE = 64  # chunks that wait in one direction before reading stops
UP, DOWN = "up", "down"
WELL: dict[str, Any] = {}


class Line:
    """One listening port of one client and its connections to the server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.mode = WELL
        self.changed = asyncio.Event()
        self.pairs: set[Pair] = set()

    def set(self, mode: dict[str, Any]) -> None:
        """From now on the network is like this; `{}` is a good one."""
        before, self.mode = self.mode, mode
        self.changed.set()
        self.changed = asyncio.Event()
        if mode.get("cut") or before.get("half") or before.get("reset"):
            for pair in list(self.pairs):
                pair.reset()
        elif mode.get("half"):
            for pair in list(self.pairs):
                pair.reset_one(mode["half"])

    def blocked(self, way: str) -> bool:
        """Whether bytes in this direction stand still."""
        return self.mode.get("hole") in (way, "both") or bool(self.mode.get("half"))

    async def until_open(self, way: str) -> None:
        """Wait while the direction is blocked."""
        while self.blocked(way):
            await self.changed.wait()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A client has connected: connect to the server and pass bytes both ways."""
        if self.mode.get("cut"):
            _reset(writer)
            return
        await self.until_open(UP)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            _reset(writer)
            return
        pair = Pair(self, writer, far_writer)
        self.pairs.add(pair)
        await asyncio.gather(pair.pass_on(UP, reader, far_writer), pair.pass_on(DOWN, far_reader, writer))
        self.pairs.discard(pair)


class Pair:
    """A client's connection and the one it was joined to."""

    def __init__(self, line: Line, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.line, self.near, self.far = line, near, far
        self.deaf: set[asyncio.StreamWriter] = set()  # sides that must not learn of the end

    def reset(self) -> None:
        """Both sides see a reset."""
        self.deaf.clear()
        _reset(self.near)
        _reset(self.far)

    def reset_one(self, way: str) -> None:
        """Only the server's side (`up`) or the client's (`down`) sees a reset; the other one hears nothing."""
        gone, kept = (self.far, self.near) if way == UP else (self.near, self.far)
        self.deaf.add(kept)
        _reset(gone)

    async def pass_on(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bytes of one direction, until either side ends."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUE)
        sender = asyncio.create_task(self._send(way, queue, writer))
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await queue.put((time.monotonic() + self._lag(), data))
                await self.line.until_open(way)
        await queue.put((0.0, b""))
        await sender

    def _lag(self) -> float:
        mode = self.line.mode
        lag = float(mode.get("delay", 0.0)) * random.uniform(0.5, 1.5)
        if random.random() < mode.get("chance", 0.0):
            lag += float(mode["stall"])
        return lag

    async def _send(self, way: str, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = await queue.get()
                if not data:
                    break
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await self.line.until_open(way)
                rate = self.line.mode.get("rate")
                if rate:
                    await asyncio.sleep(len(data) / rate)
                writer.write(data)
                await writer.drain()
        while writer in self.deaf:
            await self.line.changed.wait()
        _reset(writer)
        while not queue.empty():
            queue.get_nowait()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def serve() -> None:
    """Obey orders until standard input ends."""
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    lines: dict[str, list[Line]] = {}
    servers = []
    while text := await orders.readline():
        order = json.loads(text)
        if "open" in order:
            line = Line(order["to"])
            lines.setdefault(order["open"], []).append(line)
            servers.append(await asyncio.start_server(line.accept, "127.0.0.1", order["listen"]))
        else:
            for name in order["names"]:
                for line in lines[name]:
                    line.set(order["mode"])
        print("ok", flush=True)


if __name__ == "__main__":
    asyncio.run(serve())

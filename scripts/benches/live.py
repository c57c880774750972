"""Output as it comes: how late a line is at its follower, and what followers of a large fleet cost everybody else."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from statistics import median

from benches.bench import Bench, say
from benches.fleet import Fleet
from benches.row import Row
from director.errors import ProtocolError
from director.protocol.framing import Channel

LINES = 100  # a second, of each real node
PRINT = (
    "import time\n"
    "end = time.time() + {seconds}\n"
    "while (now := time.time()) < end:\n"
    "    print(now, flush=True)\n"
    f"    time.sleep({1 / LINES})\n"
)


class Follower:
    """Follows a job in a thread of its own; `stopped` never reads.

    Attributes:
        items: pieces and ended tasks that came.
        late: seconds from a line's time to its arrival, of lines that are times.
    """

    def __init__(self, path: str, job: str, stopped: bool = False, times: bool = False) -> None:
        self.items, self.late = 0, list[float]()
        self._times = times
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.connect(path)
        self._channel = Channel(self._sock)
        self._channel.send({"do": "follow", "id": job})
        self._thread = threading.Thread(target=self._read, daemon=True)
        if not stopped:
            self._thread.start()

    def _read(self) -> None:
        text = b""
        with contextlib.suppress(OSError, ProtocolError):
            while (frame := self._channel.receive()) is not None:
                header, body, _ = frame
                text += body
                if not header.get("cut") and text:
                    self._take(json.loads(text))
                    text = b""

    def _take(self, items: list[dict[str, str]]) -> None:
        self.items += len(items)
        now = time.time()
        if self._times:
            for item in items:
                words = b64decode(item["data"]).split()[1:-1] if "data" in item else ()  # whole lines
                self.late += [now - float(word) for word in words]

    def close(self) -> None:
        """Leave."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


def run(bench: Bench) -> Iterator[Row]:
    """The latency with real nodes, then the cost with simulated ones."""
    yield _latency(bench)
    yield from _cost(bench)


def _latency(bench: Bench) -> Row:
    nodes, seconds = bench.pick(40, 10, 2), bench.pick(10, 5, 2)
    late: list[float] = []
    medians = []
    with Fleet(bench.place()) as fleet:
        script = fleet.folder / "print.py"
        script.write_text(PRINT.format(seconds=seconds))
        fleet.start_server()
        fleet.start_clients(1, nodes)
        for _ in range(bench.runs):
            with fleet.operator() as operator:
                (job,) = operator.submit(f"RUN {sys.executable} {script}")
                follower = Follower(str(fleet.socket), job, times=True)
                operator.wait([job])
            follower.close()
            late += follower.late
            medians.append(1000 * median(follower.late))
            say(f"live: {len(follower.late)} lines, {medians[-1]:.0f} ms late")
    slow = sorted(late)[int(0.95 * len(late))]
    return Row(
        "live", f"a line of {nodes} nodes with {LINES} lines a second each is at its follower, median", median(medians),
        "ms", bar=100.0, bar_on="figure", samples=medians, more={"95 of 100": [1000 * slow]},
    )  # fmt: skip


def _cost(bench: Bench) -> Iterator[Row]:
    """A no-op for all nodes without followers and with three, of which one does not read, of a job that prints."""
    nodes = bench.pick(2000, 500, 20)
    alone, followed = [], []
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.simulate(nodes)
        pid = fleet.processes["server"].pid
        with fleet.operator() as operator:
            operator.run("RUN true")
            for _ in range(bench.runs):
                time.sleep(1)
                alone.append(operator.run("RUN true"))
            seconds = 10 + 4 * bench.runs
            (job,) = operator.submit(f"RUN talk {seconds}")
            time.sleep(1)
            before = _rss(pid)
            viewers = [Follower(str(fleet.socket), job, stopped=number == 0) for number in range(3)]
            time.sleep(3)
            for _ in range(bench.runs):
                time.sleep(1)
                followed.append(operator.run("RUN true"))
            grown = _rss(pid) - before
            for viewer in viewers:
                viewer.close()
            operator.wait([job])
        silent = (fleet.folder / "server.log").read_text(errors="replace").count("is offline")
        say(f"live: {median(alone):.3f} s alone, {median(followed):.3f} s followed, {viewers[1].items} items")
    yield Row(
        "live", f"no-op on {nodes} simulated nodes while 3 viewers follow another job of all of them", median(followed),
        "s", "the same without viewers", median(alone), median(followed) / median(alone), bar=1.2, samples=followed,
        more={"without": alone},
    )  # fmt: skip
    yield Row("live", "memory that they take of the server", grown / 1e6, "MB", bar=50.0, bar_on="figure")
    yield Row("live", "nodes that missed their heartbeats meanwhile", float(silent), "", bar=0.0, bar_on="figure")


def _rss(pid: int) -> float:
    """Bytes of memory of a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

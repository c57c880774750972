"""Files at the size of a fleet: large, small, sparse, to many nodes, over a slow network, back; digests compared."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from benches import machine
from benches.bench import Bench, limit, say
from benches.delay import Delay, stream
from benches.fleet import Fleet
from benches.orchestration import NODES
from benches.row import Row, paired
from benches.small_files import small_files

DELAY = 0.08  # seconds, there and back


def run(bench: Bench) -> Iterator[Row]:
    """New contents in each run, so that nothing has them."""
    yield from _large(bench)
    yield from small_files(bench)
    yield from _sparse(bench)
    yield from _many_nodes(bench)
    yield from _delayed(bench)


def _large(bench: Bench) -> Iterator[Row]:
    """One file to six nodes, the same again, and back from the six."""
    megabytes = bench.pick(100, 20, 1)
    took, limits, again, back = [], [], [], []
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.start_clients(1, NODES)
        big = fleet.folder / "big"
        big.write_bytes(b"the first of its kind loads what copying needs")
        _copy(fleet, f"COPY big {fleet.folder}/first-{{{{ node.id }}}}")
        for number in range(bench.runs):
            big.write_bytes(os.urandom(1_000_000) * megabytes)
            limits.append(float(limit("copying", big, NODES, fleet.folder)))
            text = f"COPY big {fleet.folder}/{{{{ node.id }}}}-{number}"
            took.append(_copy(fleet, text))
            again.append(_copy(fleet, text))
            outs = [fleet.folder / f"node-{node}-{number}" for node in range(1, NODES + 1)]
            _verify(big, outs)
            back.append(_copy(fleet, f"FETCH {fleet.folder}/{{{{ node.id }}}}-{number} {fleet.folder}/back/"))
            _verify(big, [fleet.folder / f"back/{out.name[:-2]}/{out.name}" for out in outs])
            for out in outs:
                out.unlink()
            say(f"files: {took[-1]:.2f} s, bare {limits[-1]:.2f} s, again {again[-1]:.2f} s, back {back[-1]:.2f} s")
    work = f"of {megabytes} MB to {NODES} local nodes"
    bare = "bare CURVE in pieces of 1 MiB, hashed and written"
    yield paired("files", f"COPY {work}, cold CLI to its exit", "s", bare, took, limits, bar=1.5)
    yield paired("files", f"the same COPY {work} again", "s", "the first", again, took, bar=0.35)
    yield paired("files", f"FETCH of {megabytes} MB from {NODES} local nodes", "s", "the COPY", back, took, bar=2.0)


def _sparse(bench: Bench) -> Iterator[Row]:
    """A file of holes with some data, against the data alone."""
    size, data = bench.pick((3 << 30, 10 << 20), (3 << 30, 10 << 20), (64 << 20, 1 << 20))
    longer = []
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.start_clients(1, 1)
        plain, sparse = fleet.folder / "plain", fleet.folder / "sparse"
        for number in range(bench.runs):
            part = os.urandom(data // 10)
            plain.write_bytes(os.urandom(data))
            with open(sparse, "wb") as file:
                for place in range(10):
                    os.pwrite(file.fileno(), part, place * (size // 10) + (1 << 20))
                file.truncate(size)
            alone = _copy(fleet, f"COPY plain {fleet.folder}/out-plain-{number}")
            holes = _copy(fleet, f"COPY sparse {fleet.folder}/out-{number}")
            out = fleet.folder / f"out-{number}"
            if out.stat().st_size != size or out.stat().st_blocks * 512 > 4 * data:
                raise AssertionError("the copy has other holes")
            with open(out, "rb") as file:
                if any(os.pread(file.fileno(), len(part), p * (size // 10) + (1 << 20)) != part for p in range(10)):
                    raise AssertionError("the copy has other data")
            longer.append(holes - alone)
            say(f"files: sparse {holes:.2f} s, its data alone {alone:.2f} s")
    work = f"COPY of {size >> 20} MiB with {data >> 20} MiB of data, beyond that of the data alone"
    yield Row("files", work, median(longer), "s", bar=1.0, bar_on="figure", samples=longer)


def _many_nodes(bench: Bench) -> Iterator[Row]:
    """What the server takes for it, and how long a small job on another node takes meanwhile."""
    nodes, size = bench.pick((40, 100), (40, 20), (3, 1))
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.start_clients(1, nodes + 1)
        (fleet.folder / "big").write_bytes(os.urandom(1 << 20) * size)
        _copy(fleet, "RUN true")
        before = machine.pss(fleet.pids("server"))
        most, jobs = before, [0.0]
        others = [f"node-{number}" for number in range(1, nodes + 1)]
        with ThreadPoolExecutor(1) as pool, fleet.operator() as operator:
            words = [word for name in others for word in ("--target", name)]
            copy = pool.submit(_copy, fleet, f"COPY big {fleet.folder}/out-{{{{ node.id }}}}", *words)
            while not copy.done():
                most = max(most, machine.pss(fleet.pids("server")))
                jobs.append(operator.run("RUN true", target=[f"node-{nodes + 1}"]))
                time.sleep(0.1)
            took = copy.result()
            states = operator.online()
        _verify(fleet.folder / "big", [fleet.folder / f"out-{name}" for name in others])
    say(f"files: {nodes} nodes {took:.1f} s, {most - before:.0f} MB, small jobs {max(jobs):.2f} s")
    if states != nodes + 1:
        raise AssertionError(f"only {states} nodes are online afterwards")
    work = f"COPY of {size} MiB to {nodes} local nodes"
    yield Row("files", f"memory of the server in a {work}", most - before, "MB", "more than before",
              bar=100.0, bar_on="figure", more={"seconds": took})  # fmt: skip
    yield Row("files", f"longest small job on another node in a {work}", max(jobs), "s", bar=1.0, bar_on="figure",
              samples=jobs)  # fmt: skip


def _delayed(bench: Bench) -> Iterator[Row]:
    """Over a proxy that delays each byte, against one stream through the same proxy."""
    size = bench.pick(300, 100, 2) << 20
    rates, limits = [], []
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        with Delay(fleet.port, DELAY / 2) as proxy:
            fleet.start_clients(1, 1, port=proxy.port)
            big = fleet.folder / "big"
            for number in range(bench.runs):
                big.write_bytes(os.urandom(1 << 20) * (size >> 20))
                limits.append(size / 1e6 / stream(size, DELAY / 2))
                took = _copy(fleet, f"COPY big {fleet.folder}/out-{number}")
                local = _copy(fleet, f"COPY big {fleet.folder}/out-{number}")  # all but the way and the writing
                _verify(big, [fleet.folder / f"out-{number}"])
                rates.append(size / 1e6 / max(took - local, 0.01))
                say(f"files: {rates[-1]:.0f} MB/s over {1000 * DELAY:.0f} ms, one stream {limits[-1]:.0f} MB/s")
    yield paired("files", f"COPY of {size >> 20} MiB to one node {1000 * DELAY:.0f} ms away", "MB/s",
                 "one TCP stream", rates, limits, bar=0.8, bar_kind="at least")  # fmt: skip


def _copy(fleet: Fleet, text: str, *words: str) -> float:
    """Seconds that a user's command takes for one step of a file."""
    file = fleet.folder / "step.director"
    file.write_text(f"{text}\n")
    return fleet.timed("--orchestrate", str(file), "--no-cache", "--wait", *words)


def _verify(source: Path, copies: list[Path]) -> None:
    wanted = _digest(source)
    for copy in copies:
        if _digest(copy) != wanted:
            raise AssertionError(f"{copy} is not what was copied")


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

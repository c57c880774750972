"""A large file to six local nodes by COPY, digests compared, against bare CURVE messages to six receivers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from benches.bench import Bench, limit, say
from benches.fleet import Fleet
from benches.orchestration import NODES
from benches.row import Row, paired


def run(bench: Bench) -> Iterator[Row]:
    """New contents in each run, so that no cache has them."""
    megabytes = bench.pick(100, 20, 1)
    took, limits = [], []
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.start_clients(1, NODES)
        big, file = fleet.folder / "big", fleet.folder / "copy.director"
        big.write_bytes(b"the first of its kind loads what copying needs")
        file.write_text(f"COPY big {fleet.folder}/first-{{{{ node.id }}}}\n")
        fleet.timed("--orchestrate", str(file), "--wait")
        for number in range(bench.runs):
            big.write_bytes(os.urandom(1_000_000) * megabytes)
            limits.append(float(limit("copying", big, NODES, fleet.folder)))
            outs = [fleet.folder / f"out-{number}-node-{node}" for node in range(1, NODES + 1)]
            file.write_text(f"COPY big {fleet.folder}/out-{number}-{{{{ node.id }}}}\n")
            took.append(fleet.timed("--orchestrate", str(file), "--no-cache", "--wait"))
            _verify(big, outs)
            say(f"files: {took[-1]:.2f} s, bare {limits[-1]:.2f} s")
    yield paired("files", f"COPY of {megabytes} MB to {NODES} local nodes, cold CLI to its exit", "s",
                 "bare CURVE in pieces of 1 MiB, written", took, limits)  # fmt: skip


def _verify(source: Path, copies: list[Path]) -> None:
    wanted = _digest(source)
    for copy in copies:
        if _digest(copy) != wanted:
            raise AssertionError(f"{copy} is not what was copied")
        copy.unlink()


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while piece := file.read(1024 * 1024):
            digest.update(piece)
    return digest.hexdigest()

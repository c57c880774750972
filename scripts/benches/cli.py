"""A listing from a cold CLI with a long history, against the start of Python with the settings library alone."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from benches.bench import Bench
from benches.fleet import Fleet, environment
from benches.history import fill
from benches.row import Row, paired


def run(bench: Bench) -> Iterator[Row]:
    """Each listing is next to its limit; a settings file is in place."""
    jobs = bench.pick(10_000, 1000, 20)
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.simulate(1)
        fill(fleet, jobs)
        for options, bar in ((), 2.0), (("--limit", "10"), 1.6):
            listed, limits = [], []
            for _ in range(bench.runs * bench.pick(4, 4, 1)):
                limits.append(_import())
                listed.append(fleet.timed("--list-jobs", *options))
            words = " ".join(("--list-jobs", *options))
            yield paired("cli", f"{words} with {jobs} jobs in the history", "s", "import configargparse",
                         listed, limits, bar=bar)  # fmt: skip


def _import() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import configargparse"], env=environment(), check=True)
    return time.perf_counter() - began

"""Whether a long history slows down a small job and a listing of the newest jobs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from statistics import median

from benches.bench import Bench, say
from benches.fleet import Fleet
from benches.row import Row

AT_ONCE = 100  # jobs of one submission


def run(bench: Bench) -> Iterator[Row]:
    """Measure both before and after the history is made."""
    jobs = bench.pick(10_000, 1000, 20)
    rounds = bench.pick(40, 20, 2)
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.simulate(1)
        fill(fleet, min(AT_ONCE, jobs))
        small, listing = _measure(fleet, rounds)
        before = _disk(fleet)
        fill(fleet, jobs)
        small_after, listing_after = _measure(fleet, rounds)
        size = (_disk(fleet) - before) / jobs / 1000
    against = f"with {min(AT_ONCE, jobs)} jobs"
    more = {"ledger_kB_a_job": size}
    yield Row("history", f"small job over the socket, {jobs} jobs in the history", small_after * 1e3, "ms", against,
              small * 1e3, small_after / small, bar=1.5, more=more)  # fmt: skip
    yield Row("history", f"newest 100 jobs over the socket, {jobs} jobs in the history", listing_after * 1e3, "ms",
              against, listing * 1e3, listing_after / listing, bar=1.5, more=more)  # fmt: skip


def fill(fleet: Fleet, jobs: int) -> None:
    """Run so many small jobs on the one node."""
    began = time.monotonic()
    with fleet.operator() as operator:
        for first in range(0, jobs, AT_ONCE):
            here = min(AT_ONCE, jobs - first)
            operator.wait(operator.submit(*["RUN true"] * here, side_by_side=True))
    if jobs > AT_ONCE:
        say(f"history: {jobs} jobs in {time.monotonic() - began:.1f} s")


def _measure(fleet: Fleet, rounds: int) -> tuple[float, float]:
    jobs, listings = [], []
    with fleet.operator() as operator:
        for _ in range(rounds):
            jobs.append(operator.run("RUN true"))
            began = time.perf_counter()
            operator.ask("list-jobs", limit=100)
            listings.append(time.perf_counter() - began)
    return median(jobs), median(listings)


def _disk(fleet: Fleet) -> int:
    """Bytes of the server's state folder."""
    top = fleet.folder / "server"
    return sum(os.path.getsize(os.path.join(here, name)) for here, _, names in os.walk(top) for name in names)

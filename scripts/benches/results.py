"""Many steps on many simulated nodes: how many results a second become durable, beside SQLite's own group commits."""

from __future__ import annotations

from collections.abc import Iterator

from benches.bench import Bench, limit, say
from benches.fleet import Fleet
from benches.row import Row, paired

BAR = 30_000.0  # results a second, or this share of the group commits where that is less
SHARE = 0.4
GROUP = 1000


def run(bench: Bench) -> Iterator[Row]:
    """The limit is measured before each run, on the same disk."""
    nodes, steps = bench.pick((2000, 100), (500, 50), (10, 10))
    rows = bench.pick(200_000, 50_000, 2000)
    rates, bars, commits = [], [], []
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.simulate(nodes)
        with fleet.operator() as operator:
            operator.run("RUN true")
            for _ in range(bench.runs):
                commits.append(float(limit("commits", bench.place(), rows, GROUP)))
                bars.append(min(BAR, SHARE * commits[-1]))
                rates.append(nodes * steps / operator.run("RUN true\n" * steps))
                say(f"results: {rates[-1]:.0f} a second, SQLite alone {commits[-1]:.0f}")
    yield paired(
        "results", f"{steps} steps on {nodes} simulated nodes, durable results", "/s",
        f"the less of {BAR:,.0f} and {SHARE:.0%} of SQLite's group commits", rates, bars,
        bar=1.0, bar_kind="at least", more={"group_commits": commits},
    )  # fmt: skip

"""One small command from a cold CLI to its exit: on one local node, then on forty."""

from __future__ import annotations

from collections.abc import Iterator

from benches.bench import Bench
from benches.fleet import Fleet
from benches.limits import spawning
from benches.row import Row, paired


def run(bench: Bench) -> Iterator[Row]:
    """The limit of one node is the CLI's own start; of forty, that and forty spawns on all cores."""
    nodes = bench.pick(40, 40, 3)
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.start_clients(1, 1)
        yield _row(bench, fleet, 1, 2.0)
        fleet.start_clients(2, nodes)
        yield _row(bench, fleet, nodes, 3.0)


def _row(bench: Bench, fleet: Fleet, nodes: int, bar: float) -> Row:
    took, listed, spawned = [], [], []
    fleet.timed("--exec", "RUN true", "--wait")
    for _ in range(bench.runs * bench.pick(5, 3, 1)):
        listed.append(fleet.timed("--list-jobs", "--limit", "1"))
        spawned.append(spawning.seconds(nodes, "true") if nodes > 1 else 0.0)
        took.append(fleet.timed("--exec", "RUN true", "--wait"))
        fleet.check(nodes, "")
    against = f"--list-jobs --limit 1{f' and {nodes} spawns by C' if nodes > 1 else ''}"
    work = f"RUN true on {nodes} local node{'s' if nodes > 1 else ''}, cold CLI to its exit"
    limits = [sum(pair) for pair in zip(listed, spawned, strict=True)]
    return paired("fanout", work, "s", against, took, limits, bar=bar, more={"list_jobs": listed, "spawns": spawned})

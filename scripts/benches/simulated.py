"""A no-op for every node of a simulated fleet, until each result is on disk, against bare CURVE out and back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from statistics import median

from simulation import processes_for

from benches import machine
from benches.bench import Bench, limit, say
from benches.fleet import Fleet
from benches.operator import Operator
from benches.row import Row, paired

PAUSE = 1.5  # seconds between two measures, as work after a job must not count for the next


def run(bench: Bench) -> Iterator[Row]:
    """Both fleets against the wire, then what a node costs in the large one against the small one."""
    costs = {}
    for nodes in bench.pick((1000, 2000, 10_000), (200, 500, 2000), (20, 40)):
        rows, seconds = measure(bench, nodes)
        costs[nodes] = seconds / nodes
        if nodes != min(costs):
            yield from rows
    yield _flatness(costs)


def measure(bench: Bench, nodes: int) -> tuple[list[Row], float]:
    """The rows of one fleet, and the median of its seconds."""
    rounds = bench.runs * bench.pick(2, 2, 1)
    wire = json.loads(limit("curve", nodes, rounds, processes_for(nodes)))
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.simulate(nodes)
        with fleet.operator() as operator:
            operator.run("RUN true")
            before = machine.cpu(fleet.pids("server"))
            took = [at_rest(operator) for _ in range(rounds)]
            used = (machine.cpu(fleet.pids("server")) - before) / rounds
        fleet.check(nodes)
        cold = [fleet.timed("--exec", "RUN true", "--wait") for _ in range(bench.runs)]
    say(f"simulated: {nodes} nodes in {median(took):.3f} s, the wire {median(wire['rounds']):.3f} s")
    row = paired(
        "simulated", f"no-op on {nodes} simulated nodes, all results durable", "s",
        "bare CURVE out and back", took, wire["rounds"], bar=8.0,
        more={"cold_cli_with_its_listing": cold, "bare_connect": wire["connect"]},
    )  # fmt: skip
    bare = wire["cpu"]
    cpu = Row(
        "simulated", f"CPU of the server a node, no-op on {nodes}", used / nodes * 1e6, "us",
        "bare CURVE ROUTER", bare / nodes * 1e6, used / bare,
    )  # fmt: skip
    return [row, cpu], median(took)


def at_rest(operator: Operator) -> float:
    """Seconds of one job on a fleet that has nothing else to do."""
    time.sleep(PAUSE)
    return operator.run("RUN true")


def _flatness(costs: dict[int, float]) -> Row:
    small, large = min(costs), max(costs)
    return Row(
        "simulated", f"cost of a node, {large} nodes against {small}", costs[large] * 1e6, "us",
        f"a node of {small}", costs[small] * 1e6, costs[large] / costs[small], bar=1.2,
        samples=[cost * 1e6 for cost in costs.values()],
    )  # fmt: skip

"""A server killed in the middle of a job: how long until every node is back, with other work going on meanwhile."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from statistics import median

from simulation import processes_for

from benches.bench import Bench, limit, say
from benches.fleet import Fleet
from benches.operator import Operator
from benches.row import Row

STEPS = 20
LATENCY = 2.0  # seconds of a step: there is always work, and the simulators leave CPU time to the server
PROBED = "node-1"  # a real client, on which other work goes on
LIMIT = 120.0


def run(bench: Bench) -> Iterator[Row]:
    """SIGKILL, start again, count; the job that was running must end with every result there."""
    nodes = bench.pick(10_000, 1000, 10)
    bare = json.loads(limit("curve", nodes, 1, processes_for(nodes)))
    took, probes = [], []
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.simulate(nodes, f"--latency={bench.pick(LATENCY, LATENCY, 0.05)}")
        fleet.start_clients(1, 1)
        fleet.wait_online(nodes + 1)
        for _ in range(bench.pick(min(bench.runs, 3), 1, 1)):
            with fleet.operator() as operator:
                (job,) = operator.submit("RUN true\n" * STEPS, target=["sim-*"])
            time.sleep(bench.pick(2.0, 1.0, 0.2))
            fleet.kill("server")
            began = time.monotonic()
            fleet.start_server()
            probes += _watch(fleet, nodes + 1, began)
            took.append(time.monotonic() - began)
            _check(fleet, job, nodes * STEPS)
            say(f"reconnect: {took[-1]:.1f} s, slowest small job meanwhile {max(probes, default=0):.2f} s")
    yield Row(
        "reconnect", f"SIGKILL of the server with {nodes} nodes at work, until all are online", median(took), "s",
        "bare connect and hello", bare["connect"], median(took) / bare["connect"], bar=20.0, bar_on="figure",
        samples=took, more={"small_jobs_meanwhile": probes},
    )  # fmt: skip


def _watch(fleet: Fleet, nodes: int, began: float) -> list[float]:
    """Until all are online; meanwhile small jobs, one after the other: how long each took."""
    probes = []
    with fleet.operator() as operator:
        while (online := operator.online()) < nodes:
            if time.monotonic() - began > LIMIT:
                raise TimeoutError(f"{online} of {nodes} nodes came back within {LIMIT:g} s")
            probes += _probe(operator)
    return probes


def _probe(operator: Operator) -> list[float]:
    if operator.ask("list-nodes", node=PROBED, state=["online"], limit=1):
        with contextlib.suppress(RuntimeError):  # the node went offline between the listing and the job
            return [operator.run("RUN true", target=[PROBED])]
    time.sleep(0.2)
    return []


def _check(fleet: Fleet, job: str, tasks: int) -> None:
    with fleet.operator() as operator:
        operator.wait([job])
        counts = operator.counts(job)
    if counts["success"] != tasks or counts["total"] != tasks:
        raise AssertionError(f"work was lost: {counts}")

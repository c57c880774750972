"""What nodes that only send heartbeats cost the server in CPU and memory, against a bare ROUTER with as many peers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from simulation import processes_for

from benches import machine
from benches.bench import Bench, limit, say
from benches.fleet import Fleet
from benches.row import Row

BEAT = 10  # seconds


def run(bench: Bench) -> Iterator[Row]:
    """A small fleet and a large one; CPU over several beats, memory of every process of the server."""
    small, large = bench.pick((2000, 10_000), (500, 2000), (10, 20))
    seconds = bench.pick(6 * BEAT, 2 * BEAT, 1)
    memory = {}
    for nodes in (small, large):
        bare = json.loads(limit("curve", nodes, 1, processes_for(nodes)))
        with Fleet(bench.place(), f"{BEAT}s") as fleet:
            fleet.start_server()
            empty = machine.pss(fleet.pids("server"))
            fleet.simulate(nodes)
            time.sleep(seconds / 6)
            used, parts = _share(fleet, seconds)
            memory[nodes] = machine.pss(fleet.pids("server"))
        say(f"idle-server: {nodes} nodes, {used:.2f}% of a core, {memory[nodes]:.0f} MB")
        more = {"percent_of_processes": parts, "empty_server": empty, "peer_kB": memory[nodes] / nodes * 1000}
        if nodes == large:
            yield Row("idle-server", f"CPU with {nodes} nodes beating every {BEAT} s", used, "%", "of one core",
                      bar=15.0, bar_on="figure", samples=[used], more=more)  # fmt: skip
            yield Row("idle-server", f"PSS of all server processes with {nodes} idle nodes", memory[nodes], "MB",
                      "bare CURVE ROUTER", bare["full"], memory[nodes] / bare["full"], bar=1.6, more=more)  # fmt: skip
        else:
            first = (memory[nodes] - empty) / nodes * 1000
    each = (memory[large] - memory[small]) / (large - small) * 1000
    yield Row("idle-server", f"memory of a further node, {small} to {large}", each, "kB", f"of the first {small}",
              first, each / first, bar=1.2)  # fmt: skip


def _share(fleet: Fleet, seconds: float) -> tuple[float, list[float]]:
    """Percent of one core that the server's processes use together, and each by itself."""
    pids = fleet.pids("server")
    before = [machine.cpu([pid]) for pid in pids]
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    parts = [100 * (machine.cpu([pid]) - was) / took for pid, was in zip(pids, before, strict=True)]
    return sum(parts), parts

"""1000 steps in order on each of six local nodes, against the rate at which C can spawn the same commands."""

from __future__ import annotations

from collections.abc import Iterator

from benches.bench import Bench, say
from benches.fleet import Fleet
from benches.limits import spawning
from benches.row import Row, paired

COMMAND, OUTPUT = "echo hello world", "hello world\n"
NODES = 6


def run(bench: Bench) -> Iterator[Row]:
    """Each run is between two samples of the limit, of which it takes the mean."""
    steps = bench.pick(1000, 300, 20)
    sample = bench.pick(4000, 2000, 100)
    rates, limits = [], []
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.start_clients(1, NODES)
        file = fleet.folder / "thousand.director"
        file.write_text(f"RUN {COMMAND}\n" * steps)
        words = ("--orchestrate", str(file), "--no-cache", "--wait")
        fleet.timed(*words)
        for _ in range(bench.runs):
            before = spawning.rate(sample, COMMAND, OUTPUT)
            took = fleet.timed(*words)
            after = spawning.rate(sample, COMMAND, OUTPUT)
            fleet.check(steps * NODES, OUTPUT)
            rates.append(steps * NODES / took)
            limits.append((before + after) / 2)
            say(f"orchestration: {took:.2f} s, {rates[-1]:.0f} of {limits[-1]:.0f} a second")
    yield paired(
        "orchestration", f"{steps} RUN echo in order on {NODES} nodes, --wait", "/s",
        "C posix_spawn on all cores", rates, limits, bar=0.6, bar_kind="at least",
        more={"seconds": [steps * NODES / rate for rate in rates]},
    )  # fmt: skip

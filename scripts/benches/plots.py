"""Cost against the size of the fleet and against the number of steps, as charts for docs/performance.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from statistics import median

from simulation import processes_for

from benches import svg
from benches.bench import Bench, limit, say
from benches.fleet import ROOT, Fleet
from benches.orchestration import COMMAND, NODES
from benches.row import Row
from benches.simulated import at_rest

FOLDER = ROOT / "docs/plots"
Points = list[tuple[float, float]]


def run(bench: Bench) -> Iterator[Row]:
    """Two charts; only those of a full run go into the documentation."""
    folder = FOLDER if bench.size == "full" else bench.place()
    folder.mkdir(exist_ok=True)
    fleets = bench.pick((100, 200, 500, 1000, 2000, 5000, 10_000), (100, 200, 500, 1000), (5, 10))
    ours, wire = _fleet_sizes(bench, fleets)
    (folder / "fleet-size.svg").write_text(svg.chart(
        "A no-op on every node, until each result is on disk", "simulated nodes", "seconds",
        {"director": ours, "bare CURVE, one message out and back": wire},
    ))  # fmt: skip
    yield _straight("no-op", ours, "nodes")
    steps = bench.pick((1, 10, 100, 1000, 10_000), (1, 10, 100, 500), (1, 10))
    took, spawned = _steps(bench, steps)
    (folder / "steps.svg").write_text(svg.chart(
        f"RUN echo in order on {NODES} local nodes, from cold CLI to exit", "steps", "seconds",
        {"director": took, "the same spawns by C on all cores": spawned},
    ))  # fmt: skip
    yield _straight("RUN echo", took, "steps")


def _fleet_sizes(bench: Bench, sizes: Sequence[int]) -> tuple[Points, Points]:
    ours: Points = []
    wire: Points = []
    for nodes in sizes:
        bare = json.loads(limit("curve", nodes, bench.runs, processes_for(nodes)))
        wire.append((nodes, median(bare["rounds"])))
        with Fleet(bench.place()) as fleet:
            fleet.start_server()
            fleet.simulate(nodes)
            with fleet.operator() as operator:
                operator.run("RUN true")
                ours.append((nodes, median(at_rest(operator) for _ in range(bench.runs))))
        say(f"plots: {nodes} nodes {ours[-1][1]:.3f} s")
    return ours, wire


def _steps(bench: Bench, counts: Sequence[int]) -> tuple[Points, Points]:
    from benches.limits import spawning

    ours: Points = []
    limits: Points = []
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.start_clients(1, NODES)
        file = fleet.folder / "steps.director"
        fleet.timed("--exec", "RUN true", "--wait")
        for steps in counts:
            file.write_text(f"RUN {COMMAND}\n" * steps)
            words = ("--orchestrate", str(file), "--no-cache", "--wait")
            runs = 1 if steps > 1000 else bench.runs
            ours.append((steps, median(fleet.timed(*words) for _ in range(runs))))
            limits.append((steps, spawning.seconds(steps * NODES, COMMAND, "hello world\n")))
            say(f"plots: {steps} steps {ours[-1][1]:.3f} s")
    return ours, limits


def _straight(what: str, points: Points, unit: str) -> Row:
    """The cost of one more in the upper half of the line, relative to that in the lower half."""
    low, middle, high = points[0], points[len(points) // 2], points[-1]
    if middle in (low, high):
        middle = ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2)
    lower = max(1e-9, (middle[1] - low[1]) / (middle[0] - low[0]))
    upper = (high[1] - middle[1]) / (high[0] - middle[0])
    return Row(
        "plots", f"{what}: one more of {middle[0]:g} to {high[0]:g} {unit}", upper * 1e6, "us",
        f"one more of {low[0]:g} to {middle[0]:g}", lower * 1e6, upper / lower,
        samples=[seconds for _, seconds in points], more={"points": points},
    )  # fmt: skip

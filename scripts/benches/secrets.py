"""What a secret adds to a submission for a simulated fleet: the call seals its key for every node."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from benches.bench import Bench, say
from benches.fleet import Fleet
from benches.row import Row

PAUSE = 1.5  # seconds, so that the work after a job does not count for the next


def run(bench: Bench) -> Iterator[Row]:
    """Each run submits the same steps with and without a secret, from the start of the call to its id."""
    nodes = bench.pick(10_000, 1000, 20)
    bare, more = [], []
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.simulate(nodes)
        secret = fleet.folder / "secret"
        secret.write_text("correct horse battery staple\n")
        mount = "RUN --mount=type=secret,id=x,env=X true"
        for _ in range(bench.runs):
            bare.append(_submit(fleet, nodes, "RUN true"))
            more.append(_submit(fleet, nodes, mount, "--secret", f"id=x,src={secret}") - bare[-1])
            say(f"secrets: {bare[-1]:.2f} s, with a secret {more[-1]:.2f} s more")
    yield Row(
        "secrets", f"a secret in a submission to {nodes} simulated nodes, beyond one without", median(more), "s",
        "the same without a secret", median(bare), bar=2.0, bar_on="figure", samples=more, more={"without": bare},
    )  # fmt: skip


def _submit(fleet: Fleet, nodes: int, *words: str) -> float:
    """Seconds of a call that does not wait; the job is over afterwards."""
    took = fleet.timed("--exec", *words)
    with fleet.operator() as operator:
        operator.wait(["last"])
    fleet.check(nodes)
    time.sleep(PAUSE)
    return took

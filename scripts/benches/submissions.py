"""How long a listing takes while twenty shells submit, against the same listing before that."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Iterator
from statistics import quantiles

from benches.bench import Bench
from benches.fleet import Fleet, director_command
from benches.history import fill
from benches.operator import Operator
from benches.row import Row, paired

SHELLS = 20


def run(bench: Bench) -> Iterator[Row]:
    """Each run has its own limit next to it; every submission must be accepted."""
    each = bench.pick(25, 10, 1)
    busy, idle = [], []
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.simulate(1)
        fill(fleet, 100)
        with fleet.operator() as operator:
            for _ in range(bench.runs):
                idle.append(_p99(_listings(operator, bench.pick(300, 100, 10))))
                busy.append(_p99(_listings_among_submissions(fleet, operator, each)))
    yield paired("submissions", f"p99 of a listing of 100 jobs while {SHELLS} shells submit {SHELLS * each} jobs", "ms",
                 "without submissions", busy, idle, bar=5.0)  # fmt: skip


def _listings_among_submissions(fleet: Fleet, operator: Operator, each: int) -> list[float]:
    """Niced shells: the question is how soon the server answers, not what twenty interpreters cost the machine."""
    command = shlex.join([*director_command(), "--exec", "RUN true"])
    loop = ["nice", "-n", "19", "sh", "-ec", f"for i in $(seq {each}); do {command}; done"]
    shells = [subprocess.Popen(loop, stdout=subprocess.DEVNULL, env=fleet.environment) for _ in range(SHELLS)]
    taken: list[float] = []
    while any(shell.poll() is None for shell in shells):
        taken += _listings(operator, 10)
        time.sleep(0.05)  # a person who looks, not a load of its own
    if any(shell.returncode for shell in shells):
        raise ChildProcessError("a submission was refused")
    return taken


def _listings(operator: Operator, times: int) -> list[float]:
    """Milliseconds of each."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        operator.ask("list-jobs", limit=100)
        taken.append(1000 * (time.perf_counter() - began))
    return taken


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98]

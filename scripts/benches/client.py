"""One of twenty idle clients on a machine: its memory against that of a bare process, its CPU and wake-ups."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from benches import machine
from benches.bench import Bench
from benches.fleet import Fleet, free_ports
from benches.row import Row

MODULE = [sys.executable, "-m", "benches.limits.bare_client"]


def run(bench: Bench) -> Iterator[Row]:
    """Measure twenty bare processes, then twenty clients; together they would share pages."""
    count = bench.pick(20, 20, 2)
    seconds = bench.pick(60.0, 20.0, 1.0)
    bare = _bare(count)
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.start_clients(1, count)
        with fleet.operator() as operator:
            operator.run("RUN true")
        time.sleep(bench.pick(10.0, 5.0, 0.5))
        pids = [fleet.pids(f"node-{number}") for number in range(1, count + 1)]
        memory = [machine.pss(group) for group in pids]
        cpu, wakeups = _idle(pids, seconds)
    work = f"one of {count} idle clients"
    yield Row("client", f"PSS of {work}", median(memory), "MB", f"one of {count} bare processes", median(bare),
              median(memory) / median(bare), bar=1.4, samples=memory)  # fmt: skip
    yield Row("client", f"CPU of {work}", median(cpu), "%", "of one core", bar=1.0, bar_on="figure", samples=cpu)
    yield Row("client", f"wake-ups of {work}", median(wakeups), "/s", bar=3.0, bar_on="figure", samples=wakeups)


def _idle(groups: list[list[int]], seconds: float) -> tuple[list[float], list[float]]:
    """Percent of a core and wake-ups a second of each client."""
    before = [(machine.cpu(pids), sum(map(machine.wakeups, pids))) for pids in groups]
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    after = [(machine.cpu(pids), sum(map(machine.wakeups, pids))) for pids in groups]
    cpu = [100 * (new[0] - old[0]) / took for old, new in zip(before, after, strict=True)]
    return cpu, [(new[1] - old[1]) / took for old, new in zip(before, after, strict=True)]


def _bare(count: int) -> list[float]:
    """PSS in MB of each of so many bare processes."""
    (port,) = free_ports(1)
    with ExitStack() as stack:
        server = stack.enter_context(_Process(str(port)))
        key = server.line()
        processes = [stack.enter_context(_Process(str(port), key)) for _ in range(count)]
        for process in processes:
            process.line()
        time.sleep(1.0)
        return [machine.pss([process.pid]) for process in processes]


class _Process:
    """A context with a bare process."""

    def __init__(self, *words: str) -> None:
        self._process = subprocess.Popen([*MODULE, *words], stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def line(self) -> str:
        """The next line it prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

"""How long a small job of an honest node takes while others attack the server, against the same server left alone."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benches import machine
from benches.bench import Bench, say
from benches.fleet import ROOT, Fleet
from benches.row import Row, paired

HONEST = "node-1"
ATTACKS = {"node": "an enrolled node sends at full speed", "strangers": "strangers crowd both ports"}
MEMORY_BAR = 100.0  # MB that the server may grow by


def run(bench: Bench) -> Iterator[Row]:
    """Each attack on a fresh server; the job must succeed each time."""
    for who, what in ATTACKS.items():
        idle, attacked = [], []
        with Fleet(bench.place()) as fleet:
            fleet.start_server()
            fleet.start_clients(1, 1)
            connections = bench.pick(10_000, 1000, 50)
            work = what if who == "node" else f"{what} with {connections} half-open connections and a flood"
            for _ in range(min(bench.runs, 3)):
                idle.append(_small_jobs(fleet, bench.pick(20, 10, 2)))
                before = _memory(fleet)
                with _attack(fleet, who, bench.pick(20.0, 8.0, 3.0), connections):
                    attacked.append(_small_jobs(fleet, bench.pick(20, 10, 2)))
                    grown = _memory(fleet) - before
            named = "cut off" in (fleet.folder / "server.log").read_text()
        yield paired("hostile", f"a small job, cold CLI to its exit, while {work}", "s", "left alone", attacked, idle,
                     bar=2.0, more={"named": named})  # fmt: skip
        yield Row("hostile", f"memory that the server takes more while {work}", grown, "MB", bar=MEMORY_BAR,
                  bar_on="figure")  # fmt: skip


def _small_jobs(fleet: Fleet, count: int) -> float:
    """Median of the seconds."""
    return median(fleet.timed("--exec", "RUN true", "--target", HONEST, "--wait") for _ in range(count))


def _memory(fleet: Fleet) -> float:
    """Proportional memory of all server processes, in MB."""
    return machine.pss(fleet.pids("server"))


@contextlib.contextmanager
def _attack(fleet: Fleet, who: str, seconds: float, connections: int) -> Iterator[None]:
    """An attacker's CPU is on another machine, so it gets here what the server and its clients leave."""
    key = Path(fleet.folder, "server/server/curve.key").read_text().split()[0]
    words = ["nice", "-n", "19", sys.executable, "-m", "simulation.attack", who, f"--key={key}"]
    words += [f"--port={fleet.port}", f"--enroll-port={fleet.enroll_port}", f"--seconds={seconds}"]
    words += [f"--connections={connections}"]
    environment = {**fleet.environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"}
    attacker = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    assert attacker.stdout is not None
    if who == "strangers":
        attacker.stdout.readline()  # all are open
    time.sleep(1.0)
    try:
        yield
        if attacker.poll() is not None:
            raise AssertionError("the attack ended before the work")
    finally:
        attacker.terminate()
        say(f"hostile: {who}: {attacker.communicate()[0].strip() or 'ended by us'}")

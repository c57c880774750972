"""How quickly one client runs small steps, against os.posix_spawn in a loop of Python."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from benches.bench import Bench, limit
from benches.fleet import Fleet
from benches.orchestration import COMMAND, OUTPUT
from benches.row import Row, paired


def run(bench: Bench) -> Iterator[Row]:
    """From the start of the first step to the end of the last, by the client's own clock."""
    steps = bench.pick(3000, 1000, 20)
    rates, limits = [], []
    with Fleet(bench.place()) as fleet:
        fleet.start_server()
        fleet.start_clients(1, 1)
        with fleet.operator() as operator:
            operator.run(f"RUN {COMMAND}\n" * (steps // 10))
            for _ in range(bench.runs):
                before = float(limit("spawn_loop", steps, COMMAND, OUTPUT))
                operator.run(f"RUN {COMMAND}\n" * steps)
                rates.append(_rate(fleet.check(steps, OUTPUT)))
                limits.append((before + float(limit("spawn_loop", steps, COMMAND, OUTPUT))) / 2)
    yield paired("spawn", f"{steps} RUN echo in order on one client", "/s", "os.posix_spawn in a loop", rates, limits,
                 bar=0.7, bar_kind="at least")  # fmt: skip


def _rate(job: dict[str, Any]) -> float:
    tasks = [task for step in job["steps"] for task in step["tasks"]]
    began = min(datetime.fromisoformat(task["started_at"]) for task in tasks)
    ended = max(datetime.fromisoformat(task["finished_at"]) for task in tasks)
    return len(tasks) / (ended - began).total_seconds()

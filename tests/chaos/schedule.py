"""Which fault happens when, to whom and for how long: a pure function of the seed."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from typing import Any

SERVER = "server"
DAY = 86400
JUMPS = (-30 * DAY, -7200, -90, 90, 7200, 20 * DAY)  # seconds; less forward than the history is kept
FIRST, TAIL = 3.0, 2.0  # seconds without faults at the beginning and the end


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        at: seconds after the start.
        length: seconds until it heals.
        kind: a name of `faults.FAULTS`.
        victim: a node's name, or `server`.
        detail: what the kind needs besides.
    """

    at: float
    length: float
    kind: str
    victim: str
    detail: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For the record of a run."""
        return asdict(self)


@dataclass(frozen=True)
class Kind:
    """How often a fault comes (a weight) and how long it lasts (seconds)."""

    weight: int
    low: float
    high: float
    on_server: bool = False
    network: bool = False
    clock: bool = False

    def room(self, victim: str) -> tuple[str, str]:
        """Of the faults in one room only one happens at a time; in another one something else may fail meanwhile."""
        return victim, "network" if self.network else "clock" if self.clock else "process"


KINDS = {
    "kill-client": Kind(12, 0.1, 5.0),
    "term-client": Kind(4, 0.5, 4.0),
    "stop-client": Kind(8, 0.5, 9.0),
    "long-stop-client": Kind(1, 14.0, 18.0),
    "frozen-client": Kind(5, 5.0, 8.0),  # longer than the time-outs of the jobs that must end in time
    "no-pids-client": Kind(3, 1.0, 5.0),
    "old-folder": Kind(1, 0.5, 3.0),
    "full-disk-client": Kind(4, 2.0, 7.0),
    "kill-server": Kind(5, 0.1, 3.0, on_server=True),
    "term-server": Kind(2, 0.1, 2.0, on_server=True),
    "stop-server": Kind(3, 0.3, 5.0, on_server=True),
    "kill-ledger": Kind(4, 0.1, 0.2, on_server=True),
    "stop-ledger": Kind(3, 0.3, 4.0, on_server=True),
    "kill-planner": Kind(4, 0.1, 0.2, on_server=True),
    "stop-planner": Kind(3, 0.3, 3.0, on_server=True),
    "full-disk-server": Kind(3, 1.0, 5.0, on_server=True),
    "damaged-log": Kind(3, 0.1, 2.0, on_server=True),
    "cut": Kind(8, 0.2, 6.0, network=True),
    "black-hole": Kind(7, 0.5, 9.0, network=True),
    "half-open": Kind(7, 0.5, 8.0, network=True),
    "delay": Kind(8, 1.0, 8.0, network=True),
    "loss": Kind(8, 1.0, 8.0, network=True),
    "throttle": Kind(4, 1.0, 6.0, network=True),
    "partition": Kind(3, 1.0, 7.0, network=True),
    "clock-server": Kind(2, 1.0, 8.0, on_server=True, clock=True),
    "clock-client": Kind(4, 1.0, 8.0, clock=True),
}
SMALL_DISK = "node-1"  # the one whose state folder may fill up
FEW_PIDS = "node-2"  # the one that can be left without a process to be had


def schedule(seed: int, seconds: float, nodes: list[str], pace: float = 0.9) -> list[Fault]:
    """The faults of a run, by time; `pace` is the mean pause between two of them in seconds.

    A process that is down is not struck again before it is up; its network and its clock may fail meanwhile.
    """
    dice = random.Random(f"chaos-{seed}")
    names, weights = list(KINDS), [kind.weight for kind in KINDS.values()]
    free: dict[tuple[str, str], float] = {}
    faults: list[Fault] = []
    now = FIRST
    while (now := now + dice.expovariate(1 / pace)) < seconds - TAIL:
        name = dice.choices(names, weights)[0]
        kind = KINDS[name]
        length = round(dice.uniform(kind.low, kind.high), 2)
        victim = SERVER if kind.on_server else dice.choice(nodes)
        if name == "full-disk-client":
            victim = SMALL_DISK
        if name == "no-pids-client":
            victim = FEW_PIDS
        detail = _detail(dice, name, nodes)
        key = kind.room(victim)
        if free.get(key, 0.0) > now:
            continue
        free[key] = now + length + (3.0 if kind.on_server else 1.0)
        faults.append(Fault(round(now, 2), length, name, victim, detail))
    return faults


def _detail(dice: random.Random, name: str, nodes: list[str]) -> dict[str, Any]:
    """What a network fault needs to know; always the same number of throws for one kind."""
    if name == "black-hole":
        return {"way": dice.choice(["both", "up", "down"]), "reset": dice.random() < 0.3}
    if name == "half-open":
        return {"way": dice.choice(["up", "down"])}
    if name == "delay":
        return {"delay": round(dice.uniform(0.05, 1.2), 3)}
    if name == "loss":
        return {"stall": round(dice.uniform(0.2, 1.5), 3), "chance": round(dice.uniform(0.02, 0.2), 3)}
    if name == "throttle":
        return {"rate": dice.choice([2_000, 20_000, 200_000])}
    if name.startswith("clock"):
        return {"ahead": dice.choice(JUMPS)}
    if name == "damaged-log":
        return {"dice": dice.randrange(1 << 30)}
    if name == "partition":
        return {"nodes": sorted(dice.sample(nodes, max(1, len(nodes) // 3)))}
    return {}

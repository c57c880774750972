"""A small roster in memory that records each read of facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Machine:
    """One node of the fleet."""

    online: bool = True
    labels: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


class Fleet:
    """A `RosterView`."""

    def __init__(self, machines: dict[str, Machine]) -> None:
        self.machines = machines
        self.asked: list[str] = []

    def names(self):
        return self.machines.keys()

    def has(self, name):
        return name in self.machines

    def revoked(self, name):
        return name == "stolen"

    def online(self, name):
        return self.machines[name].online

    def labels(self, name):
        return self.machines[name].labels

    def facts(self, name):
        self.asked.append(name)
        return self.machines[name].facts


def small_fleet() -> Fleet:
    """web-01 to web-12 (05 and 10 offline), db1 online and db2 offline."""
    machines = {
        f"web-{n:02}": Machine(
            n % 5 != 0,
            {"tier": "web", **({"keep": "yes"} if n in (1, 5) else {})},
            {
                "hostname": f"web-{n:02}",
                "os": {"id": "debian", "version": "12"},
                "cpu": {"count": n},
                "memory": {"total": n << 30},
                "addresses": [f"10.0.0.{n}", "fe80::1"],
                "virtual": True,
            },
        )
        for n in range(12, 0, -1)
    }
    machines["db1"] = Machine(True, {"tier": "db", "owner": "A B"}, {"os": {"id": "fedora", "version": "9.2"}})
    machines["db2"] = Machine(False, {"tier": "db"}, {"os": {"id": "fedora"}})
    return Fleet(machines)

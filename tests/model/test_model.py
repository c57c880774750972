"""Whatever breaks, in whatever order: no task runs twice, no final state changes, and everything becomes final.

`DIRECTOR_MODEL_EXAMPLES=2000 pytest tests/model` searches longer than the default.
"""

from __future__ import annotations

import os
from typing import Any

import hypothesis.strategies as some
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from world import World, probe

from director.planning.plan import Plan, PlannedStage, PlannedStep

NAMES = ["a", "b", "c"]
names = some.sampled_from(NAMES)
few = some.integers(0, 3)
letters = some.sampled_from(["S", "S", "S", "S", "F", "FS", "T"])


@some.composite
def plans(draw: Any) -> Plan:
    """Stages of a few steps on a few nodes; async entries, barriers, run-once, retries, ignored failures."""
    stages: list[PlannedStage] = []
    steps: list[PlannedStep] = []
    group = lane = 0
    for index in range(draw(some.integers(1, 3))):
        beside = draw(some.booleans())
        lane = lane + 1 if beside else 0
        group = group + (lane == 1)
        nodes = draw(some.lists(names, min_size=1, max_size=3, unique=True))
        stage = PlannedStage(index, "", nodes, lane=lane, group=group if lane else 0)
        stages.append(stage)
        for _ in range(draw(some.integers(1, 4))):
            kind = draw(some.sampled_from(["", "", "", "once", "assign", "barrier"]))
            told = draw(letters)
            flags: dict[str, Any] = {"retry": 2} if told == "FS" else {}
            if draw(some.integers(0, 4)) == 0:
                flags["ignore-errors"] = True
            row = {
                "i": len(steps), "verb": "RUN", "text": "RUN x", "stage": index, "line": 1, "flags": flags,
                "body": {"letters": told, "waits": draw(some.booleans())},
            }  # fmt: skip
            if lane:
                row |= {"lane": lane, "group": group}
            chosen = [draw(some.sampled_from(nodes))] if kind in ("once", "assign") else None
            choose = draw(some.permutations(nodes)) if kind == "once" else None
            steps.append(PlannedStep(row, stage, chosen, kind == "once", kind == "barrier", choose=choose))
    return Plan(stages, steps)


class Fleet(RuleBasedStateMachine):
    """Three clients and a server, and everything that can happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(NAMES)
        self.jobs = 0
        self.gone = ""
        self.world.start_server()
        for client in self.world.clients.values():
            client.start()

    def after(self) -> None:
        self.world.run()

    @initialize(first=plans(), second=plans())
    def begin(self, first: Plan, second: Plan) -> None:
        self.all_goes_well(3)
        self.submit([first], 250.0)
        self.submit([second], 250.0)

    @rule(files=some.lists(plans(), min_size=1, max_size=2), valid_for=some.sampled_from([0.0, 50.0, 250.0]))
    @precondition(lambda self: self.jobs < 6)
    def submit(self, files: list[Plan], valid_for: float) -> None:
        made = []
        for plan in files:
            self.jobs += 1
            made.append((f"a{self.jobs:015x}", plan, valid_for))
        self.world.submit(made)
        self.after()

    @rule(times=some.integers(1, 4))
    def all_goes_well(self, times: int) -> None:
        for _ in range(times):
            for client in self.world.clients.values():
                client.connect()
            self.world.exchange()
            self.after()
            if self.world.server is not None:
                self.world.server.ledger.flush()
            self.after()

    @rule(times=some.integers(1, 3), ends=some.booleans())
    def network_goes_well(self, times: int, ends: bool) -> None:
        """Messages pass, but nothing is written to the server's disk."""
        for _ in range(times):
            for client in self.world.clients.values():
                client.connect()
                if ends:
                    client.finish()
            self.after()
            self.world.exchange()
            self.after()

    @rule(name=names, count=few, twice=some.booleans())
    def server_reads(self, name: str, count: int, twice: bool) -> None:
        connection = self.world.clients[name].connection
        for _ in range(count + 1):
            if connection is not None:
                self.world.deliver_up(connection, twice)
        self.after()

    @rule()
    def server_reads_of_the_dead(self) -> None:
        for connection in self.world.stale:
            while connection.up and self.world.server is not None:
                self.world.deliver_up(connection)
        self.after()

    @rule(name=names, count=few, twice=some.booleans())
    def client_reads(self, name: str, count: int, twice: bool) -> None:
        connection = self.world.clients[name].connection
        for _ in range(count + 1):
            if connection is not None:
                self.world.deliver_down(connection, twice)
        self.after()

    @rule(count=some.integers(1, 5), refuse=some.booleans())
    def disk_writes(self, count: int, refuse: bool) -> None:
        if self.world.server is not None:
            self.world.server.ledger.flush(count, refuse)
        self.after()

    @rule(name=names)
    def steps_end(self, name: str) -> None:
        self.world.clients[name].finish()
        self.after()

    @rule(name=names)
    def client_connects(self, name: str) -> None:
        self.world.clients[name].connect()

    @rule(name=names, late=few, noticed=some.booleans(), by_itself=some.booleans())
    def connection_breaks(self, name: str, late: int, noticed: bool, by_itself: bool) -> None:
        client = self.world.clients[name]
        if by_itself:
            client.reconnect(late, noticed)
        else:
            client.disconnect(late, noticed)
        self.after()

    @rule(name=names)
    def second_key_asks(self, name: str) -> None:
        probe(self.world, name)

    @rule(name=names, full=some.booleans())
    def client_disk_fills(self, name: str, full: bool) -> None:
        self.world.clients[name].full_disk = full

    @rule(name=names, torn=some.booleans(), back=some.booleans())
    def client_dies(self, name: str, torn: bool, back: bool) -> None:
        client = self.world.clients[name]
        client.crash()
        if torn:
            client.tear()
        if back:
            client.start()
        self.after()

    @rule(name=names, share=some.floats(0, 1))
    def power_fails(self, name: str, share: float) -> None:
        client = self.world.clients[name]
        client.crash()
        client.lose_power(share)
        client.start(rebooted=True)
        self.after()

    @rule(name=names)
    def client_starts(self, name: str) -> None:
        self.world.clients[name].start()
        self.after()

    @rule(back=some.booleans())
    def server_dies(self, back: bool) -> None:
        self.world.crash_server()
        if back:
            self.world.start_server()
        self.after()

    @rule()
    def server_starts(self) -> None:
        self.world.start_server()

    @rule(number=some.integers(1, 6))
    def cancel(self, number: int) -> None:
        self.world.cancel(f"a{number:015x}")
        self.after()

    @rule(seconds=some.sampled_from([1.0, 20.0, 60.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(name=names)
    def one_never_comes_back(self, name: str) -> None:
        self.gone = name

    @invariant()
    def what_always_holds(self) -> None:
        self.world.check_now()

    def teardown(self) -> None:
        try:
            self.world.heal(self.gone)
            self.world.check_end(self.gone)
        finally:
            self.world.close()


LONG = int(os.environ.get("DIRECTOR_MODEL_EXAMPLES", "0"))
Fleet.TestCase.settings = settings(
    max_examples=LONG or 60,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=not LONG,
    database=None,
    report_multiple_bugs=False,
)
TestFleet = pytest.mark.slow(Fleet.TestCase)

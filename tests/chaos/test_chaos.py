"""A short run of the chaos suite, and that a seed reproduces its schedule."""

from __future__ import annotations

from pathlib import Path

import pytest

from .faults import FAULTS
from .run import Run, arguments
from .schedule import KINDS, schedule

NODES = [f"node-{i}" for i in range(1, 21)]


def test_the_schedule_is_a_pure_function_of_the_seed() -> None:
    assert schedule(7, 600, NODES) == schedule(7, 600, NODES) != schedule(8, 600, NODES)
    assert set(KINDS) == set(FAULTS) == {fault.kind for fault in schedule(7, 6000, NODES)}


def test_a_process_that_is_down_is_not_struck_again() -> None:
    down: dict[tuple[str, str], float] = {}
    for fault in schedule(3, 1200, NODES):
        key = KINDS[fault.kind].room(fault.victim)
        assert fault.at > down.get(key, 0.0)
        down[key] = fault.at + fault.length


@pytest.mark.slow
@pytest.mark.alone
def test_every_promise_holds_in_a_short_storm(tmp_path: Path) -> None:
    run = Run(arguments(["--seed", "40", "--minutes", "0.45", "--folder", str(tmp_path)]), print)
    run.go()
    print(run.summary)
    assert run.violations == []
    assert run.summary["faults"] > 5 and run.summary["acknowledged"] > 20

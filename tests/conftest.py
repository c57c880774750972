"""Fixtures every test may use, and the one lock that lets a test run alone."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import hypothesis
import pytest
from harness import Fleet
from shipping import build_sdist

FAILED = pytest.StashKey[bool]()
PROCESSES = {"e2e", "cli", "library", "process", "workers"}  # folders whose tests start processes
ROOM = pytest.StashKey["Room"]()

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("director", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("director")


class Room:
    """What all running tests share, and one that is marked `alone` has to itself.

    Everybody enters by the door, so that one who waits for the room is not passed for ever by those who only share it.
    """

    def __init__(self, door: IO[str], room: IO[str]) -> None:
        self._door, self._room = door, room
        self._take(fcntl.LOCK_SH)

    @contextlib.contextmanager
    def to_itself(self) -> Iterator[None]:
        """Keep all others out; who waits for that has left the room, so two who want it do not wait for each other."""
        fcntl.flock(self._room, fcntl.LOCK_UN)
        self._take(fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_SH)

    def _take(self, kind: int) -> None:
        fcntl.flock(self._door, fcntl.LOCK_EX)
        fcntl.flock(self._room, kind)
        fcntl.flock(self._door, fcntl.LOCK_UN)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start processes count as slow, but for the few marked `quick` that stand for them.

    Those of one file with a fleet run in one process, so that they share it.
    """
    for item in items:
        if PROCESSES & {*item.path.parts} and item.get_closest_marker("quick") is None:
            item.add_marker(pytest.mark.slow)
        if "e2e" in item.path.parts and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember that a test failed, so that its fleet shows the logs."""
    outcome: Any = yield
    if outcome.get_result().failed:
        item.stash[FAILED] = True


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let the tests of all pytest workers share one room."""
    place = item.config.cache.mkdir("alone")  # type: ignore[union-attr]
    with open(place / "door", "w") as door, open(place / "room", "w") as room:
        item.stash[ROOM] = Room(door, room)
        yield


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Give the room to a test marked `alone`; what its fixtures set up before may take long, and disturbs nobody."""
    if item.get_closest_marker("alone") is None:
        yield
    else:
        with item.stash[ROOM].to_itself():
            yield


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's source distribution."""
    return build_sdist(tmp_path_factory.mktemp("sdist"))


@pytest.fixture
def new_fleet(request: pytest.FixtureRequest) -> Iterator[Callable[..., Fleet]]:
    """Makes fleets (the arguments are `Fleet`'s) and ends them; logs are shown when the test failed."""
    made: list[Fleet] = []

    def make(**options: Any) -> Fleet:
        made.append(Fleet(**options))
        return made[-1]

    yield make
    for fleet in made:
        if request.node.stash.get(FAILED, False):
            print(fleet.tails())
        fleet.close()


@pytest.fixture
def fleet(new_fleet: Callable[..., Fleet]) -> Fleet:
    """A running server without clients yet, beats of one second."""
    made = new_fleet()
    made.start_server()
    return made

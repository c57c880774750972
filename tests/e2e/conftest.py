"""Fleets that the tests of one file share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import Fleet


@pytest.fixture(scope="module")
def trio(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A server and three clients that are online."""
    fleet = Fleet()
    try:
        fleet.start_server()
        fleet.wait_online(fleet.start_clients(3))
        yield fleet
        if request.session.testsfailed:
            print(fleet.tails())
    finally:
        fleet.close()

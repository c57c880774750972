"""When a node was last seen, across the end of the server."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from datetime import datetime

import pytest
from harness import Fleet, wait_until


@pytest.mark.parametrize(("end", "beat"), [("stop", "1s"), ("kill", "0.2s")])
def test_last_seen_survives_the_end_of_the_server(new_fleet: Callable[..., Fleet], end: str, beat: str) -> None:
    """An orderly end stores it; after a crash it is that of the last batch, which comes every six beats."""
    fleet = new_fleet(beat=beat)
    fleet.start_server()
    fleet.wait_online(fleet.start_clients(1))
    look = stored if end == "kill" else shown
    wait_until(lambda: look(fleet), "the first time is stored")
    first = seen = look(fleet)
    while seen < first + 0.5:
        seen = look(fleet)
    fleet.kill("node-1")
    getattr(fleet, end)("server")
    fleet.restart("server")
    assert shown(fleet) > seen - 0.1


def shown(fleet: Fleet) -> float:
    """When the node was last seen, as the server shows it, in epoch seconds."""
    return datetime.fromisoformat(fleet.nodes()["node-1"]["last_seen"].replace("Z", "+00:00")).timestamp()


def stored(fleet: Fleet) -> float:
    """The same in the ledger."""
    with contextlib.closing(sqlite3.connect(fleet.folder / "server" / "server" / "ledger.sqlite")) as db:
        found = db.execute("SELECT at FROM seen WHERE name = 'node-1'").fetchone()
    return float(found[0] or 0.0) if found else 0.0

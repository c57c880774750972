"""The server's history does not depend on changes of the clock."""

from __future__ import annotations

import time

import pytest

from director.config.settings import Settings
from director.daemon.server import Server


def test_a_clock_that_is_set_forward_makes_no_job_old(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(Settings(), "")
    now = time.time()
    assert abs(server.oldest_now() - now) < 5
    monkeypatch.setattr(time, "time", lambda: now + 1e8)
    assert abs(server.oldest_now() - now) < 5
    monkeypatch.setattr(time, "time", lambda: now - 1e8)
    assert server.oldest_now() == now - 1e8

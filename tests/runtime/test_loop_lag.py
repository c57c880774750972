"""The gauge measures every turn of the loop, wherever in the turn it was blocked."""

from __future__ import annotations

import logging
import time

import gevent
import pytest

from director.runtime.greenlets import breathe
from director.runtime.loop_lag import LoopLag


def block(seconds: float) -> None:
    """Keep the whole thread busy, as a bug would."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def test_a_blocked_turn_is_seen_once_by_those_who_take_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    gauge = LoopLag("x", every=0.05)
    gevent.sleep(0.01)
    gevent.spawn(block, 0.3)
    while not caplog.records:
        gevent.sleep(0.01)
    assert "x: the loop was blocked for" in caplog.text
    assert gauge.take() >= 0.3
    assert gauge.take() < 0.3
    assert gauge.ever >= 0.3 and gauge.lately >= 0.3


def test_many_short_callbacks_in_a_turn_add_up() -> None:
    gauge = LoopLag("x")
    breathe()  # the turn in which it began, this one, is not whole to it
    done: list[None] = []
    for _ in range(4):
        gevent.get_hub().loop.run_callback(lambda: done.append(block(0.02)))
    while len(done) < 4:
        gevent.sleep(0.01)
    breathe()  # the turn in which the last of them ran has ended
    assert gauge.ever >= 0.02


def test_waiting_is_no_lag() -> None:
    gauge = LoopLag("x")
    gevent.sleep(0.5)
    assert gauge.ever < 0.5

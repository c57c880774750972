"""Silence of peers and pauses between tries."""

from __future__ import annotations

from director.runtime.liveness import Backoff, Pulse


def test_three_missed_heartbeats_are_silence() -> None:
    pulse = Pulse(10.0, 100.0)
    assert not pulse.silent(130.0)
    assert pulse.silent(130.1)
    pulse.hear(130.1)
    assert not pulse.silent(160.0)


def test_silence_counts_from_the_last_message() -> None:
    pulse = Pulse(10.0, 100.0)
    assert pulse.silence(142.0) == 42.0
    assert pulse.silence(99.0) == 0.0


def test_the_server_sets_the_interval() -> None:
    pulse = Pulse(10.0, 100.0)
    pulse.interval = 1.0
    assert pulse.silent(103.5)


def test_pauses_double_up_to_a_bound_and_begin_again() -> None:
    backoff = Backoff(0.5, 30.0)
    assert [backoff.next() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    backoff.reset()
    assert backoff.next() == 0.5


def test_a_very_long_outage_overflows_nothing() -> None:
    backoff = Backoff(0.5, 30.0, tries=10_000)
    assert backoff.next() == 30.0

"""Buckets: a burst, then a rate, for each key by itself, and a bound on the keys."""

from __future__ import annotations

from director.server.rates import Buckets


def test_a_burst_then_a_rate() -> None:
    buckets = Buckets(burst=3, rate=2, most=10)
    assert [buckets.take("a", 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert [buckets.take("a", 0.5) for _ in range(2)] == [True, False]
    assert buckets.take("b", 0.5)
    assert [buckets.take("a", 100.0) for _ in range(4)] == [True, True, True, False]


def test_more_than_is_left_takes_nothing() -> None:
    buckets = Buckets(burst=10, rate=1, most=10)
    assert not buckets.take("a", 0.0, 11)
    assert buckets.take("a", 0.0, 10)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    buckets = Buckets(burst=1, rate=1, most=10)
    assert buckets.take("a", 10.0) and not buckets.take("a", 5.0)


def test_the_key_asked_longest_ago_is_forgotten() -> None:
    buckets = Buckets(burst=1, rate=0, most=2)
    for key in "abc":
        assert buckets.take(key, 0.0)
    assert not buckets.take("c", 1.0)
    assert buckets.take("a", 1.0)

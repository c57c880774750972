"""The tests themselves: none depends on the machine's speed."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def test_no_example_of_hypothesis_has_a_deadline() -> None:
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings().suppress_health_check

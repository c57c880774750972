"""How long SIGKILL goes on, with processes that end slowly or not at all."""

from __future__ import annotations

import time

import pytest

from director.process import termination

NOBODY = range(6_000_000, 6_000_010)  # beyond the highest pid that Linux gives


def test_processes_are_not_given_up_while_one_after_another_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes long to end hundreds."""
    monkeypatch.setattr(termination, "KILL_FOR", 0.05)
    left = list(NOBODY)

    def alive() -> list[int]:
        return left[:]

    def sleep(seconds: float) -> None:
        time.sleep(0.02)
        left.pop()

    assert termination.kill(alive, sleep)


def test_processes_of_which_none_ends_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(termination, "KILL_FOR", 0.05)
    assert not termination.kill(lambda: NOBODY, time.sleep)

"""What a client remembers always fits a `profile` message."""

from __future__ import annotations

from pathlib import Path

import pytest

from director.agent import profile
from director.agent.profile import Profile
from director.agent.step_cache import StepCache
from director.protocol import messages

WIDE = "\ufffd"  # six bytes in JSON


def opened(folder: Path) -> Profile:
    return Profile(str(folder), {}, StepCache(str(folder / "chains")))


def check_size(one: Profile) -> None:
    """Raise ProtocolError when the server would drop it."""
    messages.decode([messages.encode("profile", **one.as_message())], "client")


def test_many_large_values_push_the_oldest_out(tmp_path: Path) -> None:
    one = opened(tmp_path)
    for number in range(30):
        one.apply({"arg": {f"A{number}": WIDE * 10_000}})
        check_size(one)
    names = list(one.args())
    assert names == [f"A{number}" for number in range(30 - len(names), 30)] and len(names) > 5
    assert opened(tmp_path).args() == one.args()


def test_a_value_is_remembered_whole_or_not_at_all(tmp_path: Path) -> None:
    one = opened(tmp_path)
    one.apply({"arg": {"A": "old", "B": "x" * (profile.TEXT_LIMIT - 2)}})
    one.apply({"arg": {"A": "x" * profile.TEXT_LIMIT}})
    assert list(one.args()) == ["B"], "nor is the value before, which is no longer true"


def test_what_an_older_client_kept_is_cut_to_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(profile, "ARGS_BYTES", 1 << 30)
        before = opened(tmp_path)
        before.apply({"arg": {f"A{number}": WIDE * 10_000 for number in range(100)}})
    check_size(opened(tmp_path))

"""Memory for requests: each user and all of them together have a bound."""

from __future__ import annotations

from director.api.callers_room import CallersRoom


def test_each_user_and_all_together_have_a_bound() -> None:
    room = CallersRoom(together=100, of_user=60)
    assert room.take(1, 60) and not room.take(1, 1), "the bound of one user"
    assert not room.take(2, 41) and room.take(2, 40) and not room.take(3, 1), "the bound of all"
    room.give_back(1, 60)
    assert room.total == 40 and room.take(3, 60)

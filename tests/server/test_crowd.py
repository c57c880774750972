"""Which connection of a stranger is ended for a new one."""

from __future__ import annotations

from director.server.crowd import Crowd


def test_the_oldest_of_the_address_that_has_too_many() -> None:
    crowd: Crowd[int] = Crowd(of_address=3, together=100)
    assert [crowd.add(number, "a", 0.0) for number in range(5)] == [None, None, None, 0, 1]
    assert crowd.add(9, "b", 0.0) is None and len(crowd) == 4


def test_the_oldest_of_the_busiest_address_when_there_are_too_many_together() -> None:
    crowd: Crowd[int] = Crowd(of_address=100, together=4)
    assert [crowd.add(number, "a" if number else "b", 0.0) for number in range(4)] == [None] * 4
    assert crowd.add(4, "c", 0.0) == 1
    assert 0 in crowd and 4 in crowd


def test_nodes_that_are_away_have_room_beside_it() -> None:
    crowd: Crowd[int] = Crowd(of_address=1, together=1)
    assert [crowd.add(number, "a", 0.0, more=9) for number in range(11)] == [None] * 10 + [0]


def test_what_is_known_or_over_makes_room() -> None:
    crowd: Crowd[int] = Crowd(of_address=2, together=2)
    crowd.add(1, "a", 1.0)
    crowd.add(2, "a", 2.0)
    assert crowd.older_than(2.0) == [1] and list(crowd) == [1, 2]
    crowd.remove(1)
    crowd.remove(1)
    assert crowd.add(3, "a", 3.0) is None

"""The lines in which jobs wait for the dispatcher: each in its order, all in turn."""

from __future__ import annotations

import gevent

from director.scheduler.fair_queue import FairQueue


def test_a_small_job_waits_for_one_turn_of_a_huge_one() -> None:
    turns: FairQueue[int] = FairQueue()
    for number in range(1000):
        turns.add("huge", number)
    turns.add("small", 1)
    assert [turns.take(32), turns.take(32)] == [("huge", list(range(32))), ("small", [1])]
    left = []
    while turns:
        job, taken = turns.take(32)
        assert job == "huge"
        left += taken
    assert left == list(range(32, 1000))


def test_who_waits_is_woken_by_the_first_thing() -> None:
    turns: FairQueue[int] = FairQueue()
    waiting = gevent.spawn(turns.wait)
    gevent.sleep(0)
    assert not waiting.ready()
    turns.add("job", 1)
    waiting.join(5)
    assert waiting.successful()
    turns.take(1)
    again = gevent.spawn(turns.wait)
    gevent.sleep(0)
    assert not again.ready()
    again.kill()

"""Items keep their order within a job, jobs take queue, and no item is queued twice."""

from __future__ import annotations

import gevent

from director.scheduler.fair_queue import FairQueue


def test_a_small_job_waits_for_one_turn_of_a_huge_one() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(1000):
        queue.add("huge", number)
    queue.add("small", 1)
    assert [queue.take(32), queue.take(32)] == [("huge", list(range(32))), ("small", [1])]
    left = []
    while queue:
        job, taken = queue.take(32)
        assert job == "huge"
        left += taken
    assert left == list(range(32, 1000))


def test_an_item_that_is_queued_keeps_its_place() -> None:
    queue: FairQueue[str] = FairQueue()
    for name in ("a", "b", "a"):
        queue.add("job", name)
    assert queue.take(1) == ("job", ["a"])
    queue.add("job", "a")
    assert queue.take(9) == ("job", ["b", "a"])
    assert not queue


def test_the_first_item_wakes_the_waiter() -> None:
    queue: FairQueue[int] = FairQueue()
    waiting = gevent.spawn(queue.wait)
    gevent.sleep(0)
    assert not waiting.ready()
    queue.add("job", 1)
    waiting.join(5)
    assert waiting.successful()
    queue.take(1)
    again = gevent.spawn(queue.wait)
    gevent.sleep(0)
    assert not again.ready()
    again.kill()

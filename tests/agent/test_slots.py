"""Places on a node: never more than allowed, and each job in turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from gevent.event import Event

from director.agent.slots import Slots


@contextmanager
def place(slots: Slots, job: str) -> Iterator[None]:
    """What a step does."""
    slots.take(job)
    try:
        yield
    finally:
        slots.give()


def test_jobs_take_turns_however_many_of_their_tasks_wait() -> None:
    slots, order, held = Slots(2), [], []

    def work(job: str, tasks: int) -> None:
        for _ in range(tasks):
            with place(slots, job):
                order.append(job)
                held.append(2 - slots.free)
                gevent.sleep(0)

    lanes = [gevent.spawn(work, "huge", 50) for _ in range(10)]
    gevent.joinall([*lanes, gevent.spawn(work, "small", 5)])
    last = max(place for place, job in enumerate(order) if job == "small")
    assert last < 25 and len(order) == 505
    assert (max(held), slots.free) == (2, 2)


def test_who_is_killed_while_waiting_takes_no_place_along() -> None:
    slots, go = Slots(1), Event()

    def work(job: str) -> None:
        with place(slots, job):
            go.wait()

    first, second, third = (gevent.spawn(work, job) for job in "abc")
    gevent.sleep(0)
    second.kill()
    go.set()
    gevent.joinall([first, third], timeout=5)
    assert slots.free == 1 and third.successful()
    with place(slots, "d"):
        waiting = gevent.spawn(work, "e")
        gevent.sleep(0)
    waiting.kill()  # it has been given the place, but has not noticed yet
    assert slots.free == 1


def test_who_waits_for_others_gives_the_place_away_and_is_back_at_once() -> None:
    slots, answer, order = Slots(1), Event(), []

    def ask() -> None:
        with place(slots, "a"):
            with slots.aside():
                answer.wait()
            order.append("answered")
            gevent.sleep(0)

    def work(job: str) -> None:
        with place(slots, job):
            order.append(job)
            answer.set()
            gevent.sleep(0)

    gevent.joinall([gevent.spawn(ask), gevent.spawn(work, "b"), gevent.spawn(work, "c")], timeout=5)
    assert sorted(order) == ["answered", "b", "c"] and order[0] == "b"
    assert slots.free == 1


def test_who_is_killed_aside_leaves_no_place_too_many() -> None:
    slots, never = Slots(1), Event()

    def ask() -> None:
        with place(slots, "a"), slots.aside():
            never.wait()

    asking = gevent.spawn(ask)
    gevent.sleep(0)
    assert slots.free == 1
    asking.kill()
    assert slots.free == 1

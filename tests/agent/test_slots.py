"""Slots: never more than allowed, and each job in turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from gevent.event import Event

from director.agent.slots import Slots


@contextmanager
def slot(slots: Slots, job: str) -> Iterator[None]:
    """Take a slot and give it back, as a step does."""
    slots.take(job)
    try:
        yield
    finally:
        slots.give()


def test_jobs_take_turns_however_many_of_their_tasks_wait() -> None:
    slots, order, held = Slots(2), [], []

    def work(job: str, tasks: int) -> None:
        for _ in range(tasks):
            with slot(slots, job):
                order.append(job)
                held.append(2 - slots.free)
                gevent.sleep(0)

    lanes = [gevent.spawn(work, "huge", 50) for _ in range(10)]
    gevent.joinall([*lanes, gevent.spawn(work, "small", 5)])
    last = max(index for index, job in enumerate(order) if job == "small")
    assert last < 25 and len(order) == 505
    assert (max(held), slots.free) == (2, 2)


def test_a_greenlet_that_is_killed_while_it_waits_keeps_no_slot() -> None:
    slots, go = Slots(1), Event()

    def work(job: str) -> None:
        with slot(slots, job):
            go.wait()

    first, second, third = (gevent.spawn(work, job) for job in "abc")
    gevent.sleep(0)
    second.kill()
    go.set()
    gevent.joinall([first, third], timeout=120)
    assert slots.free == 1 and third.successful()
    with slot(slots, "d"):
        waiting = gevent.spawn(work, "e")
        gevent.sleep(0)
    waiting.kill()  # it has the slot, but has not run since
    assert slots.free == 1


def test_a_task_aside_gives_its_slot_away_and_has_one_again_at_once() -> None:
    slots, answer, order = Slots(1), Event(), []

    def ask() -> None:
        with slot(slots, "a"):
            with slots.aside():
                answer.wait()
            order.append("answered")
            gevent.sleep(0)

    def work(job: str) -> None:
        with slot(slots, job):
            order.append(job)
            answer.set()
            gevent.sleep(0)

    gevent.joinall([gevent.spawn(ask), gevent.spawn(work, "b"), gevent.spawn(work, "c")], timeout=120)
    assert sorted(order) == ["answered", "b", "c"] and order[0] == "b"
    assert slots.free == 1


def test_a_task_that_is_killed_aside_leaves_no_slot_too_many() -> None:
    slots, never = Slots(1), Event()

    def ask() -> None:
        with slot(slots, "a"), slots.aside():
            never.wait()

    asking = gevent.spawn(ask)
    gevent.sleep(0)
    assert slots.free == 1
    asking.kill()
    assert slots.free == 1

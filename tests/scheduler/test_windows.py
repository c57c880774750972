"""How many tasks a node may hold: a share for each job, and a few of a further job when it is full."""

from __future__ import annotations

from plans import block, build, hand_all

from director.scheduler import windows
from director.scheduler.node_run import Load


def test_the_more_jobs_a_node_has_the_fewer_tasks_of_each() -> None:
    assert [windows.share(jobs) for jobs in (0, 1, 16, 1000)] == [512, 512, 256, windows.LEAST]


def test_a_full_node_takes_a_few_tasks_of_a_further_job() -> None:
    run = build([block(0, 99)], [["a"]])
    node = run.nodes["a"]
    node.load.handed = windows.NODE_LIMIT
    assert windows.room_for(node, 1) == windows.FIRST
    node.load.handed = windows.NODE_MOST
    assert windows.room_for(node, 1) == 0
    node.load.handed = 0
    hand_all(run, "a")
    assert windows.room_for(node, 1) == windows.WINDOW - 100


def test_starved_jobs_are_fed_in_their_order_when_there_is_room() -> None:
    load = Load(handed=windows.NODE_LIMIT)
    for job in ("first", "second", "first"):
        windows.starve(load, job)
    assert windows.feed(load) == []
    load.handed -= windows.LEAST
    assert windows.feed(load) == ["first"]
    assert windows.feed(load) == ["second"]
    load.handed = 0
    windows.starve(load, "third")
    assert windows.feed(load) == [], "only a job that other jobs keep out is noted"

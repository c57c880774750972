"""Output is sent only while somebody follows, from the start on, at the server's pace, and never unasked."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
import ujson
from gevent.event import Event

from director.agent.job_runner import Running
from director.agent.live_output import LiveOutput
from director.process.output import Output


class Session:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}
        self.reconciled = Event()
        self.reconciled.set()
        self.sent: list[tuple[list[Any], bytes]] = []
        self.connected = True

    def send(self, header: bytes, *payload: bytes) -> bool:
        if self.connected:
            self.sent.append((ujson.loads(header)[1]["pieces"], b"".join(payload)))
        return self.connected


class Job:
    def __init__(self, *steps: Running) -> None:
        self.running = {running.step: running for running in steps}


def running(step: int = 0, shown: bool = True, cap: int = 1000) -> Running:
    found = Running(step, 0.0, 0.0, shown=shown)
    found.handle.outputs = Output(cap), Output(cap)
    return found


def order(
    job: str = "j", on: bool = True, anew: bool = True, every: float = 3600.0, most: int = 65536
) -> dict[str, Any]:
    return {"job": job, "on": on, "anew": anew, "every": every, "most": most}


@pytest.fixture
def scene() -> tuple[Session, Running, LiveOutput]:
    session, step = Session(), running()
    session.jobs["j"] = Job(step)
    return session, step, LiveOutput(session)  # type: ignore[arg-type]


def write(step: Running, data: bytes, stream: int = 0) -> None:
    assert step.handle.outputs is not None
    step.handle.outputs[stream].add(data)


def test_nothing_unless_followed_then_everything_from_the_start(scene: Any) -> None:
    session, step, live = scene
    write(step, b"early\n")
    live.send()
    assert session.sent == []
    live.follow(order())
    live.send()
    write(step, b"late\n")
    write(step, b"bad\n", 1)
    live.send()
    live.send()
    assert session.sent[0] == ([["j", 0, 1, 0, 0, 6]], b"early\n")
    assert sorted(session.sent[1][0]) == [["j", 0, 1, 0, 6, 5], ["j", 0, 1, 1, 0, 4]]
    assert len(session.sent) == 2, "nothing new, no message"
    live.follow(order())
    live.send()
    assert session.sent[2][1] in (b"early\nlate\nbad\n", b"bad\nearly\nlate\n"), "for a second viewer, from the start"
    live.follow(order(anew=False))
    live.send()
    assert len(session.sent) == 3, "another pace sends nothing again"
    live.follow(order(on=False))
    write(step, b"more")
    live.send()
    assert len(session.sent) == 3


def test_what_must_not_be_shown_is_not_sent(scene: Any) -> None:
    session, _, live = scene
    hidden = running(1, shown=False)
    session.jobs["j"].running[1] = hidden
    write(hidden, b"secret")
    live.follow(order())
    live.send()
    assert session.sent == []


def test_a_message_has_at_most_so_many_bytes_and_tasks_take_turns(scene: Any) -> None:
    session, step, live = scene
    other = running(1)
    session.jobs["j"].running[1] = other
    for each in (step, other):
        write(each, b"x" * 300)
    live.follow(order(most=100))
    for _ in range(12):
        live.send()
    assert all(len(data) <= 100 for _, data in session.sent)
    assert {pieces[0][1] for pieces, _ in session.sent[:4]} == {0, 1}
    assert sum(len(data) for _, data in session.sent) == 600


def test_a_break_of_the_connection_loses_and_repeats_nothing(scene: Any) -> None:
    session, step, live = scene
    live.follow(order())
    write(step, b"one")
    session.connected = False
    live.send()
    session.connected = True
    session.reconciled.clear()
    live.send()
    assert session.sent == []
    session.reconciled.set()
    live.send()
    assert session.sent == [([["j", 0, 1, 0, 0, 3]], b"one")]
    live.forget()
    write(step, b"two")
    live.send()
    assert len(session.sent) == 1, "a new session has no followers"


def test_what_was_not_kept_is_a_gap(scene: Any) -> None:
    session, step, live = scene
    live.follow(order())
    write(step, b"h" * 500 + b"m" * 5000 + b"t" * 500)
    live.send()
    live.send()
    pieces = [piece for found, _ in session.sent for piece in found]
    assert pieces[0][4:] == [0, 500] and pieces[1][4] + pieces[1][5] == 6000 and pieces[1][4] > 500


def test_the_timer_runs_only_while_somebody_follows(scene: Any) -> None:
    session, step, live = scene
    live.follow(order(every=0.01))
    write(step, b"x")
    with gevent.Timeout(60):
        while not session.sent:
            gevent.sleep(0.01)
    live.follow(order(on=False))
    assert live._timer is None


@pytest.mark.parametrize(("offset", "at", "data"), [(0, 0, b"abcd"), (3, 3, b"d"), (4, 4, b""), (9, 4, b"")])
def test_the_kept_bytes_from_an_offset(offset: int, at: int, data: bytes) -> None:
    output = Output(100)
    output.add(b"abcd")
    found, text = output.since(offset, 10)
    assert text == data and (not data or found == at)

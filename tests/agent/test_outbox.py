"""The outbox: the first result at once, the others in batches, everything until it is stored."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from simulation.client import MemoryJournal

from director.agent import outbox as module
from director.agent.outbox import Outbox
from director.protocol import messages
from director.protocol.results import TaskResult


class Post:
    """An outbox over a connection that the test plays."""

    def __init__(self) -> None:
        self.journal = MemoryJournal("i")
        self.well = True
        self.sent: list[tuple[dict[str, Any], bytes]] = []
        self.outbox = Outbox(self.journal, self._send)

    def _send(self, header: bytes, payload: bytes = b"") -> bool:
        if self.well:
            assert len(header) <= messages.KINDS["results"].header
            self.sent.append((messages.decode([header, payload], "client")[1], payload))
        return self.well

    def add(self, number: int, more: bool = False, job: str = "j", out: bytes = b"x", **fields: Any) -> None:
        made = (number, "S", 0, 1.0, 2.0, 1.0, 0, 1, fields.get("reason"), 0, len(out), 0, fields.get("effects"))
        row = TaskResult._make(made)
        self.journal.result(job, number, row, out)
        self.outbox.add(job, row, out, more)

    def steps(self) -> list[list[int]]:
        return [[row[0] for _, rows, _, _ in fields["jobs"] for row in rows] for fields, _ in self.sent]

    def ack(self, index: int = -1) -> None:
        self.outbox.acknowledged(self.sent[index][0]["number"])


@pytest.fixture
def post() -> Post:
    made = Post()
    made.outbox.reopen()
    return made


def test_a_lone_result_goes_at_once(post: Post) -> None:
    post.add(0)
    assert post.steps() == [[0]]
    assert post.sent[0][1] == b"x"
    assert not post.outbox.empty
    post.ack()
    assert post.outbox.empty
    assert not list(post.journal.waiting())


def test_the_first_goes_at_once_and_those_that_follow_together(post: Post) -> None:
    post.add(0, more=True)
    for number in range(1, 5):
        post.add(number, more=True)
    post.add(5)
    assert post.steps() == [[0], [1, 2, 3, 4, 5]]


def test_an_acknowledgement_covers_what_went_before_it_and_an_unknown_one_nothing(post: Post) -> None:
    for number in range(3):
        post.add(number)
    post.outbox.acknowledged(post.sent[2][0]["number"] + 1)
    assert [number for number, _, _ in post.journal.waiting()] and not post.outbox.empty
    post.ack(1)
    assert not post.outbox.empty
    post.ack(0)  # came late
    assert not post.outbox.empty
    post.ack(2)
    assert post.outbox.empty and not list(post.journal.waiting())


def test_what_waits_for_more_does_not_wait_long(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_SECONDS", 0.01)
    post.outbox.last = module.time.monotonic() + 1000
    post.add(0, more=True)
    assert post.steps() == []
    with gevent.Timeout(120):
        while not post.steps():
            gevent.sleep(0.001)


def test_batches_have_bounds(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 3)
    monkeypatch.setattr(module, "BATCH_BYTES", 100)
    post.outbox.shut()
    for number in range(5):
        post.add(number)
    for number in range(5, 8):
        post.add(number, out=bytes(60))
    post.add(8, out=bytes(500))
    post.outbox.reopen()
    assert post.steps() == [[0, 1, 2], [3, 4, 5], [6], [7], [8]]


def test_long_reasons_and_effects_make_no_header_that_is_refused(post: Post) -> None:
    post.outbox.shut()
    for number in range(module.BATCH_ROWS):
        post.add(number, reason="\u4e00" * 2000)
    for number in range(4):
        post.add(1000 + number, effects={"arg": {"A": "x" * 1_500_000}})
    post.outbox.reopen()
    assert sum(map(len, post.steps())) == module.BATCH_ROWS + 4


def test_messages_in_flight_have_a_bound(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IN_FLIGHT", 2)
    for number in range(5):
        post.add(number)
    assert post.steps() == [[0], [1]]
    post.ack(0)
    assert post.steps() == [[0], [1], [2, 3, 4]]


def test_range_ends_are_sent_when_there_is_room_again(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IN_FLIGHT", 1)
    post.add(0)
    post.outbox.end_range("j", 0, 5, "X", "why")
    post.outbox.end_range("j", 0, 5, "X", "why")
    assert len(post.sent) == 1
    post.ack()
    assert post.sent[1][0]["jobs"] == [["j", [], [], [[0, 5, "X", "why"]]]]


def test_range_ends_go_behind_the_results_that_wait(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    post.outbox.shut()
    for number in range(3):
        post.add(number)
    post.outbox.end_range("j", 0, 5, "X", "why")
    post.outbox.reopen()
    assert [[ranges for *_, ranges in fields["jobs"]] for fields, _ in post.sent] == [[[]], [[], [[0, 5, "X", "why"]]]]


def test_a_new_connection_gets_everything_that_is_not_stored(post: Post) -> None:
    for number in range(3):
        post.add(number, job="ab"[number % 2], out=b"%d" % number)
    post.ack(0)
    post.outbox.shut()
    post.add(3, out=b"3")
    assert len(post.sent) == 3
    post.outbox.reopen()
    assert post.steps()[3:] == [[1, 2, 3]]
    assert post.sent[3][1] == b"123"
    assert [entry[0] for entry in post.sent[3][0]["jobs"]] == ["b", "a", "j"]


def test_an_acknowledgement_for_an_earlier_process_is_ignored() -> None:
    first, second = Post(), Post()
    for post in (first, second):
        post.outbox.reopen()
        post.add(0)
    second.outbox.acknowledged(first.sent[0][0]["number"])
    assert list(second.journal.waiting())


def test_a_connection_that_takes_nothing_is_shut(post: Post) -> None:
    post.well = False
    post.add(0)
    assert not post.outbox.open
    post.well = True
    post.outbox.reopen()
    assert post.steps() == [[0]]


def test_large_outputs_are_read_from_the_journal(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IN_MEMORY", 10)
    post.outbox.shut()
    for number in range(3):
        post.add(number, out=b"%d" % number * 8)
    assert sum(len(entry[3]) for entry in post.outbox._waiting if entry[3]) == 8
    post.outbox.open = True
    post.outbox.flush()
    assert b"".join(payload for _, payload in post.sent) == b"000000001111111122222222"


def test_bytes_in_flight_have_a_bound(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLIGHT_BYTES", 1000)
    for number in range(3):
        post.add(number, out=b"x" * 600)
    assert post.steps() == [[0], [1]]
    post.ack(0)
    assert post.steps() == [[0], [1], [2]]
    post.outbox.reopen()
    assert post.steps()[3:] == [[1, 2]], "a new connection begins with nothing on its way"

"""A client that still answers on its older connection, told from one whose last words arrive late."""

from __future__ import annotations

import gevent

from director.server.conflicts import Conflicts

PEER = b"\0peer"


def test_only_an_answer_to_this_question_counts() -> None:
    asked: list[int] = []
    conflicts = Conflicts(lambda peer, number: not asked.append(number), 0.05)
    answers = ((lambda: 0, False), (lambda: None, False), (lambda: [1], False), (lambda: asked[-1], True))
    for answer, is_there in answers:
        waiter = gevent.spawn(conflicts.still_answers, PEER)
        gevent.sleep(0)
        conflicts.answered(b"\0other", asked[-1])
        conflicts.answered(PEER, answer())
        assert waiter.get(timeout=120) is is_there
    late = asked[-1]
    waiter = gevent.spawn(conflicts.still_answers, PEER)
    gevent.sleep(0)
    conflicts.answered(PEER, late)
    assert waiter.get(timeout=120) is False


def test_a_connection_that_is_gone_does_not_answer() -> None:
    assert Conflicts(lambda peer, number: False, 60.0).still_answers(PEER) is False

"""Answers in frames on the operator's socket: the user's command reads what a handler gave, however it was cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from director.api import socket as operator_socket
from director.api.requests import Caller
from director.errors import NotFoundError, UsageError
from director.library.connection import Connection, Patience
from director.protocol.framing import Channel, Cut


class Played:
    """Commands that give these answers."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    def call(self, name: str, fields: dict[str, Any], caller: Caller) -> Any:
        answer = self._answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Connection]]:
    ours, theirs = socket.socketpair()
    link = Connection.__new__(Connection)
    link.patience = Patience(60.0)
    link.channel = Channel(theirs, take_fds=False)
    with Channel(ours) as channel, link:
        yield channel, link


def items(ends: tuple[Channel, Connection], answer: Any) -> list[Any]:
    """The items of an answer at the other end."""
    channel, link = ends
    commands: Any = Played(one=answer)
    caller = operator_socket.caller_of(channel.sock, channel)
    operator_socket.answer(commands, {"do": "one"}, channel, caller)
    return list(link.answer(*link.receive()))


def test_an_object_is_one_item_however_large(ends: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"name": "x" * 100, "rows": list(range(50))}
    assert items(ends, answer) == [answer]
    monkeypatch.setattr(operator_socket, "PART", 7)
    assert items(ends, answer) == [answer]
    assert items(ends, b"[1,2,3,4,5]") == [[1, 2, 3, 4, 5]]


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ([], []),
        ([[]], [[]]),
        ([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 2}]),
        ([b"[1]", Cut(b"[2,"), Cut(b"3"), b",4]", b"[5]"], [[1], [2, 3, 4], [5]]),
        ([Cut(b'{"a":'), Cut(b"1}")], [{"a": 1}]),
    ],
)
def test_an_iterator_is_its_items(ends: Any, given: list[Any], read: list[Any]) -> None:
    assert items(ends, iter(given)) == read


def test_an_error_takes_the_place_of_the_rest(ends: Any) -> None:
    def broken() -> Iterator[Any]:
        yield [1]
        raise NotFoundError("gone")

    with pytest.raises(NotFoundError, match=r"^gone$"):
        items(ends, broken())
    with pytest.raises(UsageError, match=r"^no$"):
        items(ends, UsageError("no"))

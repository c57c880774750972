"""The enrolment port over real TCP: it tells the server's key and time, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator

import gevent
import pytest
import ujson
from gevent import socket
from harness import free_ports

from director.errors import StartError
from director.protocol import messages
from director.server.enrolment_port import LINE_LIMIT, EnrolmentPort

KEY = "s" * 40


@pytest.fixture
def port() -> Iterator[int]:
    made, number = EnrolmentPort(KEY), free_ports(1)[0]
    made.listen("127.0.0.1", number)
    yield number
    made.stop()


def call(port: int, data: bytes) -> bytes:
    with gevent.Timeout(120), socket.create_connection(("127.0.0.1", port)) as link:
        link.sendall(data)
        answer = b""
        while part := link.recv(4096):
            answer += part
    return answer


@pytest.mark.parametrize(
    "line",
    [b'{"v": 6}', b'{"v": 6, "name": "web", "key": "x"}', b'{"v": 99}', b"hello", b"[]", b"\xff", b"x" * LINE_LIMIT],
)
def test_every_line_gets_the_same_answer(port: int, line: bytes) -> None:
    answer = ujson.loads(call(port, line + b"\n"))
    assert abs(answer.pop("time") - time.time()) < 60
    assert answer == {"v": messages.VERSION, "server_key": KEY}


def test_it_does_not_tell_which_names_are_known(port: int) -> None:
    """It knows no names: they are asked for over the encrypted connection."""
    known = call(port, b'{"v": 6, "name": "known", "key": "' + b"k" * 40 + b'"}\n')
    unknown = call(port, b'{"v": 6, "name": "unknown", "key": "' + b"k" * 40 + b'"}\n')
    assert known.partition(b',"time"')[0] == unknown.partition(b',"time"')[0]


def test_a_port_that_is_taken_is_an_error_that_names_the_setting(port: int) -> None:
    with pytest.raises(StartError, match="--enroll-port"):
        EnrolmentPort(KEY).listen("127.0.0.1", port)

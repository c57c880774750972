"""Frames over real socket pairs: pieces, bodies, descriptors, and malformed frames."""

from __future__ import annotations

import _socket
import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator

import pytest

from director.errors import ProtocolError
from director.protocol import framing
from director.protocol.framing import Channel


@pytest.fixture(params=["socket", "_socket"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Channel, Channel]]:
    make = socket.socketpair if request.param == "socket" else _socket.socketpair
    one, two = (Channel(sock) for sock in make(socket.AF_UNIX, socket.SOCK_STREAM))
    yield one, two
    one.close()
    two.close()


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_headers_and_bodies_arrive_as_they_were_sent(pair: tuple[Channel, Channel]):
    one, two = pair
    sent = [({"do": "x", "name": "\udcff é/"}, b""), ({}, b"\0" * 10), ({"list": [1, None, "a"]}, b"body")]
    for header, body in sent:
        one.send(header, body)
    assert [two.receive()[:2] for _ in sent] == sent
    one.shutdown()
    assert two.receive() is None


def test_a_large_body_both_ways(pair: tuple[Channel, Channel]):
    one, two = pair
    body = os.urandom(5_000_001)
    writer = threading.Thread(target=lambda: [one.send({"n": n}, body) for n in range(3)])
    writer.start()
    for n in range(3):
        assert two.receive() == ({"n": n}, body, [])
    writer.join()


def test_byte_by_byte(pair: tuple[Channel, Channel]):
    one, two = pair
    data = framing.encode({"a": 1}, b"xyz") + b"xyz" + framing.encode({"b": 2})

    def drip() -> None:
        for at in range(len(data)):
            one.sock.sendall(data[at : at + 1])

    writer = threading.Thread(target=drip)
    writer.start()
    assert two.receive() == ({"a": 1}, b"xyz", [])
    assert two.receive() == ({"b": 2}, b"", [])
    writer.join()


def test_descriptors_go_with_frames_and_are_close_on_exec(pair: tuple[Channel, Channel], tmp_path):
    one, two = pair
    before = open_fds()
    for n in range(200):
        (tmp_path / str(n)).write_text(str(n))
    fds = [os.open(tmp_path / str(n), os.O_RDONLY) for n in range(200)]
    one.send({"first": True}, b"x", fds[:3])
    one.send({"second": True, "fds": 7}, b"")
    one.send({"third": True}, b"y" * 100_000, fds)
    framing.close_all(fds)
    got = []
    for count in (3, 0, 200):
        header, _, received = two.receive()
        assert (len(received), header.get("fds", 0)) == (count, count)
        got += received
    assert [os.pread(fd, 9, 0).decode() for fd in got] == [str(n) for n in (*range(3), *range(200))]
    assert not any(os.get_inheritable(fd) for fd in got)
    framing.close_all(got)
    assert open_fds() == before


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">II", framing.HEADER_LIMIT + 1, 0),
        struct.pack(">II", 2, framing.BODY_LIMIT + 1),
        struct.pack(">II", 3, 0) + b"{]}",
        struct.pack(">II", 2, 0) + b"[]",
        struct.pack(">II", 0, 0),
        struct.pack(">II", 2, 0) + b"\xff\xfe",
        struct.pack(">II", 200_000, 0) + b"[" * 200_000,
        struct.pack(">II", 10, 0) + b"{",
        b"\0\0",
        struct.pack(">II", 10, 0) + b'{"fds": 1}',
        struct.pack(">II", 12, 0) + b'{"fds": "x"}',
        struct.pack(">II", 11, 0) + b'{"fds": -1}',
    ],
)
def test_a_malformed_frame_closes_the_channel(pair: tuple[Channel, Channel], data: bytes):
    one, two = pair
    one.sock.sendall(data)
    one.shutdown()
    with pytest.raises(ProtocolError):
        two.receive()
    assert two.sock.fileno() == -1


def test_descriptors_that_are_not_announced_or_not_allowed_are_closed(pair: tuple[Channel, Channel]):
    one, two = pair
    before = open_fds()
    numbers = struct.pack("ii", one.fileno(), one.fileno())
    one.sock.sendmsg([framing.encode({})], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])
    with pytest.raises(ProtocolError, match="no frame announces"):
        two.receive()
    assert len(open_fds()) == len(before) - 1  # the channel's own
    left, right = (Channel(sock, take_fds=False) for sock in socket.socketpair())
    left.send({}, b"", [left.fileno()])
    with pytest.raises(ProtocolError, match="not allowed"):
        right.receive()
    left.close()
    assert len(open_fds()) == len(before) - 1


def test_a_frame_that_is_too_large_is_refused_before_anything_is_sent(pair: tuple[Channel, Channel]):
    one, two = pair
    with pytest.raises(ProtocolError, match="16777216"):
        one.send({"x": "a" * framing.HEADER_LIMIT})
    with pytest.raises(ProtocolError, match="67108864"):
        one.send({}, bytes(framing.BODY_LIMIT + 1))
    with pytest.raises(ProtocolError, match="at most 200"):
        one.send({}, b"", [0] * 201)
    one.send({"fine": 1})
    assert two.receive()[0] == {"fine": 1}


def test_it_works_in_a_process_patched_by_gevent():
    import subprocess

    code = """
from gevent import monkey; monkey.patch_all(os=False, signal=False, subprocess=False)
import os, socket, gevent, ujson
from director.protocol.framing import Channel
one, two = map(Channel, socket.socketpair())
body = b"z" * 3_000_000
ticks = []
gevent.spawn(lambda: [one.send({"n": n}, body, [0]) for n in range(3)])
gevent.spawn(lambda: [(ticks.append(1), gevent.sleep(0)) for _ in range(100)])
for n in range(3):
    header, got, fds = two.receive()
    assert (header, got == body, len(fds)) == ({"n": n, "fds": 1}, True, 1)
assert ticks
print("well")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("well\n", 0), done.stderr


def test_the_header_is_json_and_lengths_are_big_endian():
    data = framing.encode({"a": 1}, b"xx")
    assert struct.unpack(">II", data[:8]) == (len(data) - 8, 2)
    assert json.loads(data[8:]) == {"a": 1}

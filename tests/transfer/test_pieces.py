"""Contents travel in order, within a window, whatever is lost or comes twice: by data, without sockets."""

from __future__ import annotations

import random
from collections import deque

import pytest

from director.transfer.pieces import END, PIECE, RANGES, Content, Range, Receiver, cut, is_range

BLOBS = {letter * 64: bytes(random.Random(letter).randbytes(3 * PIECE + 5)) for letter in "abc"}
SMALL = [Content(f"{number:064}", 100, "a" * 64, len(BLOBS["a" * 64]), 100 * number) for number in range(2000)]
LARGE = [Content(name, len(data)) for name, data in BLOBS.items()]


def expected(contents: list[Content]) -> list[bytes]:
    return [BLOBS[content.blob[0]][content.offset : content.offset + content.size] for content in contents]


class Sink:
    """What a receiver has given."""

    def __init__(self) -> None:
        self.whole: list[bytes] = []
        self._parts: list[bytes] = []

    def feed(self, receiver: Receiver, ranges: list[Range], now: float = 0.0) -> None:
        data = b"".join(BLOBS[name][offset : offset + length] for name, offset, length in ranges)
        for _, part, last in receiver.take(ranges, memoryview(data), now):
            self._parts.append(bytes(part))
            if last:
                self.whole.append(b"".join(self._parts))
                self._parts.clear()


@pytest.mark.parametrize("contents", [LARGE, SMALL, SMALL[::2], [*SMALL[:7], *LARGE, *SMALL[5:3:-1], *LARGE]])
def test_all_arrives_in_order(contents: list[Content]) -> None:
    receiver, sink, waiting = Receiver(contents), Sink(), deque[Range]()
    while not receiver.is_done:
        waiting.extend(receiver.requests(0.0))
        sink.feed(receiver, cut(waiting))
    assert sink.whole == expected(contents)
    assert not waiting and not receiver.requests(0.0)


def test_what_follows_in_a_blob_is_one_range() -> None:
    assert Receiver(SMALL).requests(0.0) == [("a" * 64, 0, 200_000)]
    assert len(Receiver(SMALL[::2]).requests(0.0)) == RANGES


@pytest.mark.parametrize("seed", range(20))
def test_messages_that_are_lost_doubled_or_out_of_turn(seed: int) -> None:
    rng = random.Random(seed)
    contents = [*LARGE, *SMALL]
    rng.shuffle(contents)
    receiver, sink = Receiver(contents, window=rng.choice([1, 1000, PIECE, 10 * PIECE])), Sink()
    wire: list[list[Range]] = []
    while not receiver.is_done:
        if not wire:
            receiver.again()
        waiting = deque(receiver.requests(rng.random()))
        while waiting:
            wire.append(cut(waiting))
        chance = rng.random()
        message = wire.pop(0) if chance < 0.9 else rng.choice(wire)
        if chance > 0.05:
            sink.feed(receiver, message, rng.random())
    assert sink.whole == expected(contents)


def test_no_more_than_a_window_is_under_way() -> None:
    receiver, sink = Receiver(LARGE, window=PIECE, largest=PIECE), Sink()
    waiting = deque(receiver.requests(0.0))
    assert sum(length for _, _, length in waiting) == PIECE
    assert receiver.requests(0.0) == []
    half = [("a" * 64, 0, PIECE // 2)]
    sink.feed(receiver, half)
    assert receiver.requests(0.0) == [("a" * 64, PIECE, PIECE // 2)]


def test_the_window_grows_while_that_helps() -> None:
    """With a delay of 100 ms a larger window is faster; with 1 GB a second it is not any more."""
    contents = [Content("a" * 64, 1 << 30)]
    for rate, least, most in ((1e12, 32, 32), (10e6, 4, 8)):
        receiver, now, window = Receiver(contents), 0.0, 0
        while not receiver.is_done and now < 1000:
            size = sum(length for _, _, length in receiver.requests(now))
            window = max(window, size)
            now += 0.1 + size / rate
            for _ in receiver.take([("a" * 64, receiver.taken, size)], memoryview(bytes(size)), now):
                pass
        assert least << 20 <= window <= most << 20


def test_messages_are_the_same_for_all_who_request_a_blob() -> None:
    first, second = deque([("a" * 64, 0, 3 * PIECE)]), deque([("a" * 64, 1000, 2 * PIECE)])
    cut(first), cut(second)
    assert cut(first) == cut(second) == [("a" * 64, PIECE, PIECE)]
    many = deque([(name, 0, 1000) for name in BLOBS] * 500)
    sizes = []
    while many:
        message = cut(many)
        assert len(message) <= RANGES
        sizes.append(sum(length for _, _, length in message))
    assert sum(sizes) == 1_500_000 and max(sizes) <= PIECE and len(sizes) < 8


def test_rows_that_are_no_ranges() -> None:
    good = ["a" * 64, 0, 1]
    assert is_range(good)
    for row in (None, [], good[:2], [*good, 1], ["A" * 64, 0, 1], ["../x", 0, 1], ["a" * 64, -1, 1], ["a" * 64, 0, 0],
                ["a" * 64, 0.0, 1], ["a" * 64, 0, END + 1], [7, 0, 1], {"a": 1}):  # fmt: skip
        assert not is_range(row)

"""Parts of a message in one frame."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from director.protocol.packing import PARTS_LIMIT, pack, unpack


@given(st.lists(st.binary(max_size=40), min_size=2, max_size=20))
def test_what_is_packed_is_unpacked(parts: list[bytes]) -> None:
    assert unpack(memoryview(pack(parts))) == parts


@given(st.binary(max_size=40).filter(lambda frame: not frame.startswith(b"\0")))
def test_a_single_part_is_its_own_frame(part: bytes) -> None:
    assert pack([part]) is part and unpack(part) == [part]


@given(st.binary(max_size=60).map(b"\0".__add__))
def test_what_is_not_well_packed_is_one_part(frame: bytes) -> None:
    """Lengths that do not fit read nothing beyond the frame and make no parts."""
    parts = unpack(frame)
    assert parts == [frame] or pack(parts) == frame


def test_a_message_of_many_parts_is_bounded() -> None:
    frame = pack([b""] * (PARTS_LIMIT + 1))
    assert unpack(frame) == [frame]

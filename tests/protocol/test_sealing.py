"""Secrets on their way: only the node's key opens a box, for its job; a changed value is noticed."""

from __future__ import annotations

import pytest

from director.errors import VerbError
from director.protocol import keys
from director.protocol.sealing import FORMER, content, covers, decrypt, encrypt, missing, open_box, ranges_of, seal

NODE, OTHER = (keys.with_opening(keys.new_pair()) for _ in range(2))


def opening(pair: keys.KeyPair) -> list[bytes]:
    return [keys.raw(key) for key in pair.opening]


def test_a_node_opens_its_own_box_also_after_one_rotation() -> None:
    key, cipher = encrypt(b"\x00s3cr3t\n")
    box = seal(keys.raw(NODE.sealing[0]), content("job", {"db": (key, [[1, 2], [5, 5]])}))
    assert b"s3cr3t" not in cipher + box
    for pair in (NODE, keys.with_opening(NODE, NODE.opening)):
        ((found, ranges),) = open_box(opening(pair), box, "job").values()
        assert decrypt(found, cipher) == b"\x00s3cr3t\n"
        assert [covers(ranges, step) for step in range(7)] == [False, True, True, False, False, True, False]
    with pytest.raises(VerbError, match=FORMER):
        open_box(opening(OTHER), box, "job")
    with pytest.raises(VerbError, match="of the job job"):
        open_box(opening(NODE), box, "another")
    with pytest.raises(VerbError, match="changed"):
        decrypt(found, cipher[:-1] + bytes([cipher[-1] ^ 1]))


def test_numbers_of_steps_as_ranges() -> None:
    assert ranges_of([5, 1, 2, 3, 9]) == [[1, 3], [5, 5], [9, 9]]


def test_who_has_not_given_a_secret_learns_the_option() -> None:
    assert not missing(["a"], ["a", "b"])
    assert missing(["b", "a"], []).endswith("add --secret id=a,src=FILE or --secret id=a,env=VARIABLE")

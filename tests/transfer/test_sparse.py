"""Files with holes: found, compared by their data, and written with the same holes."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest
from verb_node import FakeNode, apply, step_of

from director import verbs
from director.errors import VerbError
from director.states import CACHED, SUCCESS
from director.transfer.blobs import BlobStore
from director.transfer.manifests import check, contents
from director.transfer.sparse import LEAST, _outside, extents_of, is_in

MIB = 1 << 20


def make(path: Path, size: int, *data: tuple[int, bytes]) -> Path:
    """A file with this data and holes elsewhere."""
    with open(path, "wb") as file:
        for offset, part in data:
            os.pwrite(file.fileno(), part, offset)
        file.truncate(size)
    return path


def found(path: Path) -> tuple[tuple[int, int], ...] | None:
    with open(path, "rb") as file:
        return extents_of(file.fileno())


def test_extents_of_files(tmp_path: Path) -> None:
    assert found(make(tmp_path / "plain", 5, (0, b"hello"))) is None
    assert found(make(tmp_path / "little", LEAST // 2)) is None
    assert found(make(tmp_path / "empty", 10 * MIB)) == ()
    extents = found(make(tmp_path / "some", 10 * MIB, (MIB, b"x" * 4096), (9 * MIB, b"y" * 4096)))
    assert extents == ((MIB, 4096), (9 * MIB, 4096))


def test_a_file_holds_the_data_and_zeros_elsewhere(tmp_path: Path) -> None:
    extents, digest = ((MIB, 4096),), hashlib.sha256(b"x" * 4096).hexdigest()
    cases = {
        "same": ([(MIB, b"x" * 4096)], True),
        "zeros": ([(MIB, b"x" * 4096), (3 * MIB, bytes(9000)), (MIB - 10, bytes(10))], True),
        "more": ([(MIB, b"x" * 4096), (3 * MIB, b"z")], False),
        "before": ([(MIB, b"x" * 4096), (MIB - 1, b"z")], False),
        "other": ([(MIB, b"y" * 4096)], False),
        "none": ([], False),
    }
    for name, (data, same) in cases.items():
        with open(make(tmp_path / name, 10 * MIB, *data), "rb") as file:
            assert is_in(file.fileno(), extents, digest, lambda: None) == same, name


@pytest.mark.parametrize("seed", range(20))
def test_what_is_outside_of_extents(seed: int) -> None:
    rng = random.Random(seed)

    def some() -> list[tuple[int, int]]:
        cuts = sorted(rng.sample(range(100), 10))
        return [(start, end - start) for start, end in zip(cuts[::2], cuts[1::2], strict=True)]

    def bytes_in(extents: list[tuple[int, int]]) -> set[int]:
        return {at for start, length in extents for at in range(start, start + length)}

    data, known = some(), some()
    assert bytes_in(list(_outside(iter(data), known))) == bytes_in(data) - bytes_in(known)


@pytest.mark.parametrize("data", [[], [(2 * MIB, b"data"), (5 * MIB + 1, b"more" * 5000)]])
def test_a_copy_has_the_same_holes(tmp_path: Path, data: list[tuple[int, bytes]]) -> None:
    (tmp_path / "there").mkdir()
    node = FakeNode(tmp_path / "there", BlobStore(str(tmp_path / "blobs")))
    source = make(tmp_path / "disk", 64 * MIB, *data)
    assert apply("COPY disk disk", node, tmp_path).state == SUCCESS
    copy = tmp_path / "there/disk"
    assert copy.read_bytes() == source.read_bytes() and copy.stat().st_blocks == source.stat().st_blocks
    assert apply("COPY disk disk", node, tmp_path).state == CACHED
    with open(copy, "r+b") as file:
        os.pwrite(file.fileno(), b"!", 30 * MIB)
    assert apply("COPY disk disk", node, tmp_path).state == SUCCESS
    assert copy.read_bytes() == source.read_bytes()


def row(size: int, last: object) -> list[object]:
    return ["file", "f", 0o644, size, "0" * 64, "", "f", last]


def test_rows_with_extents() -> None:
    good = row(100, [[0, 10], [20, 80]])
    assert check([good], own=True) == [good] and contents([good]) == {"0" * 64: 90}
    assert check([row(100, [])], own=True)
    for last in ([[0, 101]], [[20, 10], [0, 5]], [[0, 0]], [[-1, 5]], [["a", 1]], [[1]], "x", None, [None], 5):
        with pytest.raises(Exception, match="wrong shape"):
            check([row(100, last)], own=True)
    with pytest.raises(Exception, match="wrong shape"):
        check([good])


def test_room_is_asked_for_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    node = FakeNode(tmp_path / "there", BlobStore(str(tmp_path / "blobs")))
    step = step_of("COPY big there", make(tmp_path / "big", 5, (0, b"hello")).parent, node.blobs)  # type: ignore[arg-type]
    step["body"]["sources"][0][3] = 1 << 42
    with pytest.raises(VerbError, match="there: no room for 4398046511104 bytes"):
        verbs.load("COPY").apply(step["body"], step["flags"], node)  # type: ignore[arg-type]
    assert not node.fetched and not os.listdir(tmp_path / "there")

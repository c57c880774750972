"""The files worker: requests contents within its credit, trusts digests only, continues after a lost connection."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ujson

from director.transfer.blobs import BlobStore
from director.transfer.pieces import PIECE, Range, cut
from director.workers import files
from director.workers.files import ACTIVE_OF_NODE, INLINE, LISTS_OF_NODE, Intake
from director.workers.uploads import CREDIT

KEY = ["job", 1, 0, "db"]


class Parent:
    """Keeps the frames that the intake sends."""

    def __init__(self) -> None:
        self.frames: list[tuple[dict[str, Any], bytes]] = []

    def send(self, header: dict[str, Any], body: bytes = b"", fds: Any = ()) -> None:
        self.frames.append((ujson.loads(ujson.dumps(header)), body))

    def take(self) -> list[tuple[dict[str, Any], bytes]]:
        """The frames since the last call."""
        frames, self.frames = self.frames, []
        return frames


class Source:
    """A node with some files."""

    def __init__(self, *contents: bytes) -> None:
        self.contents = list(contents)
        self.rows = [
            ["file", f"f{number}", 0o644, len(data), hashlib.sha256(data).hexdigest(), "", ""]
            for number, data in enumerate(contents)
        ]

    def offer(self, intake: Intake, rows: Any = None, **more: Any) -> None:
        """Offer the manifest in one part."""
        body = ujson.dumps(self.rows if rows is None else rows).encode()
        intake.handle({"offer": KEY, "part": 0, "parts": 1, "error": "", "land": None, **more}, body)
        settle(intake)

    def answer(self, intake: Intake, gets: Any, most: int = 1 << 30) -> None:
        """Send what was requested, at most so many messages."""
        waiting: deque[Range] = deque(tuple(row) for header, _ in gets for row in header.get("ranges", ()))
        while waiting and most:
            ranges, most = cut(waiting), most - 1
            data = b"".join(self.read(*row) for row in ranges)
            intake.handle({"contents": KEY, "ranges": list(map(list, ranges)), "error": ""}, data)
        settle(intake)

    def read(self, digest: str, offset: int, length: int) -> bytes:
        """A part of the first file that was listed with this digest."""
        number = next(number for number, row in enumerate(self.rows) if row[4] == digest)
        return self.contents[number][offset : offset + length]


def settle(intake: Intake) -> None:
    """Let it do what waits."""
    while intake.work() is not None:
        pass


@pytest.fixture
def parent() -> Parent:
    return Parent()


@pytest.fixture
def intake(parent: Parent, tmp_path: Path) -> Iterator[Intake]:
    intake = Intake(parent, BlobStore(str(tmp_path / "blobs")))  # type: ignore[arg-type]
    yield intake
    assert not list((tmp_path / "blobs/tmp").iterdir()), "nothing is left behind"


def run(source: Source, intake: Intake, parent: Parent) -> dict[str, Any]:
    """Send pieces until the upload ends; its last frame."""
    while True:
        frames = parent.take()
        ends = [(header, body) for header, body in frames if "get" not in header and not header.get("more")]
        if ends:
            return {**ends[0][0], "body": ends[0][1]}
        assert frames, "nothing is requested and the upload does not end"
        source.answer(intake, frames)


def test_a_loan_of_small_and_large_files(intake: Intake, parent: Parent, tmp_path: Path) -> None:
    source = Source(b"", b"one", os.urandom(CREDIT + PIECE + 3), b"one")
    source.offer(intake)
    assert sum(length for header, _ in parent.frames for _, _, length in header["ranges"]) == CREDIT
    end = run(source, intake, parent)
    assert end["error"] == "" and ujson.loads(end["body"]) == {"sources": source.rows}
    blobs = BlobStore(str(tmp_path / "blobs"))
    for row, data in zip(source.rows, source.contents, strict=True):
        assert Path(blobs.path(row[4])).read_bytes() == data
    source.offer(intake)
    assert "lent" in parent.take()[0][0], "what it has sent for this job is not asked for again"


def test_what_a_node_has_not_sent_is_requested_though_it_is_here(intake: Intake, parent: Parent) -> None:
    source = Source(b"one", os.urandom(2 * PIECE))
    source.offer(intake)
    gets = parent.take()
    source.answer(intake, gets)
    assert "lent" in parent.take()[-1][0]
    for key in (["job", 2, 0, "web"], ["other", 1, 0, "db"]):
        source.offer(intake, offer=key)
        assert [header["ranges"] for header, _ in parent.take()] == [header["ranges"] for header, _ in gets]
    source.offer(intake, offer=["job", 3, 0, "db"])
    assert "lent" in parent.take()[0][0], "the same node, for the same job"
    intake.handle({"over": "job"}, b"")
    source.offer(intake)
    assert parent.take()[0][0]["ranges"] == gets[0][0]["ranges"], "the job is over"
    for job in ("job", "other"):
        intake.handle({"over": job}, b"")


def test_many_rows_become_a_content(intake: Intake, parent: Parent, tmp_path: Path) -> None:
    source = Source(*[b"%d" % number for number in range(INLINE + 1)])
    half = ujson.dumps(source.rows[:500]).encode(), ujson.dumps(source.rows[500:]).encode()
    for part in (1, 0):  # in any order
        intake.handle({"offer": KEY, "part": part, "parts": 2, "error": ""}, half[part])
    settle(intake)
    manifest = ujson.loads(run(source, intake, parent)["body"])["manifest"]
    path = BlobStore(str(tmp_path / "blobs")).path(manifest["digest"])
    assert ujson.loads(Path(path).read_bytes()) == source.rows


@pytest.mark.parametrize("size", [10, PIECE + 10])
def test_a_file_that_changed_is_noticed(intake: Intake, parent: Parent, size: int) -> None:
    source = Source(b"a" * size)
    source.offer(intake)
    source.contents = [b"b" * size]
    assert run(source, intake, parent)["error"] == "'f0' was changed while it was read; try again"


def test_a_file_that_shrank_or_cannot_be_read(intake: Intake, parent: Parent) -> None:
    source = Source(b"a" * 10)
    source.offer(intake)
    source.contents = [b"a"]
    assert "shorter" in run(source, intake, parent)["error"]
    source.offer(intake)
    parent.take()
    intake.handle({"contents": KEY, "ranges": [], "error": "no"}, b"")
    assert parent.take()[0][0]["error"] == "no"


def test_an_interrupted_upload_goes_on_where_it_was(intake: Intake, parent: Parent) -> None:
    source = Source(os.urandom(4 * PIECE))
    source.offer(intake)
    source.answer(intake, parent.take(), most=3)
    parent.take()
    source.offer(intake)  # the connection broke
    ((header, _),) = parent.take()
    digest = source.rows[0][4]
    assert (header["anew"], header["ranges"]) == (True, [[digest, 3 * PIECE, PIECE]])
    source.answer(intake, [(header, b"")])
    assert parent.take()[-1][0]["error"] == ""


def test_another_list_begins_anew(intake: Intake, parent: Parent) -> None:
    source = Source(os.urandom(2 * PIECE))
    source.offer(intake)
    source.answer(intake, parent.take(), most=1)
    source.contents[0] = b"new"
    source.rows = Source(b"new").rows
    source.offer(intake)
    assert ujson.loads(run(source, intake, parent)["body"])["sources"] == source.rows


def test_what_nobody_asked_for_is_dropped(intake: Intake, parent: Parent) -> None:
    intake.handle({"contents": KEY, "ranges": [["0" * 64, 0, 1]], "error": ""}, b"x")
    source = Source(b"x" * 10)
    source.offer(intake)
    parent.take()
    digest = source.rows[0][4]
    for row in (["0" * 64, 0, 1], [digest, 1, 1], [digest, 11, 1]):
        intake.handle({"contents": KEY, "ranges": [row], "error": ""}, b"x")
    assert parent.take() == []
    for row in ([digest, -1, 1], [digest, 0], "x", [7, 0, 1], [digest, 0, 1 << 60]):
        intake.handle({"contents": KEY, "ranges": [row], "error": ""}, b"x")
        assert "no range" in parent.take()[0][0]["error"]
        source.offer(intake)
        parent.take()
    intake.handle({"over": KEY[0]}, b"")


@pytest.mark.parametrize("rows", [{"a": 1}, [["file", "../x", 0, 0, "0" * 64, "", ""]], "text"])
def test_a_bad_list_is_refused(intake: Intake, parent: Parent, rows: Any) -> None:
    Source().offer(intake, rows)
    assert parent.take()[0][0]["error"]


def test_no_json_at_all_is_refused(intake: Intake, parent: Parent) -> None:
    for body in (b"\xff", b"[" * 100_000):
        intake.handle({"offer": KEY, "part": 0, "parts": 1, "error": ""}, body)
        settle(intake)
        assert parent.take()[0][0]["error"]


def test_an_error_of_the_node_is_passed_on(intake: Intake, parent: Parent) -> None:
    Source().offer(intake, error="no such file")
    assert parent.take()[0][0] == {"lent": KEY, "error": "no such file", "changed": False}


def test_what_is_fetched_lands(intake: Intake, parent: Parent, tmp_path: Path) -> None:
    source = Source(b"content")
    to = {"folder": str(tmp_path / "out"), "uid": os.geteuid(), "gid": os.getegid()}
    source.offer(intake, land=to)
    end = run(source, intake, parent)
    assert (end["error"], end["changed"]) == ("", True)
    assert ujson.loads(end["body"]) == {"paths": [f"{tmp_path}/out/db/f0"], "left_out": []}
    assert (tmp_path / "out/db/f0").read_bytes() == b"content"


HUGE = [["file", f"f{number}", 0o644, 1 << 42, f"{number:064x}", "", ""] for number in range(100)]


def test_a_list_of_files_that_no_disk_can_hold_is_refused_before_anything_is_built(
    intake: Intake, parent: Parent
) -> None:
    tracemalloc.start()
    try:
        Source().offer(intake, HUGE)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20, "something was built for 400 TiB"
    finally:
        tracemalloc.stop()
    assert "no room" in parent.take()[0][0]["error"]


@pytest.mark.parametrize(
    ("parts", "size", "why"),
    [(10_000, 10, "more than 64 MiB"), (2, 3 << 20, "more than 64 MiB"), (0, 10, "more than 64 MiB")],
)
def test_a_list_that_is_too_long_is_refused_with_its_first_part(
    intake: Intake, parent: Parent, parts: int, size: int, why: str
) -> None:
    intake.handle({"offer": KEY, "part": 0, "parts": parts, "error": ""}, b" " * size)
    assert why in parent.take()[0][0]["error"]
    assert not intake._uploads and not intake._bytes and not intake._of_node and not intake._bytes_of_node


def test_a_list_has_a_bounded_number_of_rows_whatever_their_shape(intake: Intake, parent: Parent) -> None:
    intake.handle({"offer": KEY, "part": 0, "parts": 1, "error": ""}, b"[" + b"[]," * 200_000 + b"[]]")
    settle(intake)
    assert "more than 100000 rows" in parent.take()[0][0]["error"]


def test_one_node_cannot_take_the_room_of_all_lists(intake: Intake, parent: Parent) -> None:
    part = b"[" + b" " * (1 << 20) + b"]"
    for step in range(LISTS_OF_NODE // len(part) + 2):  # none of them ends
        intake.handle({"offer": ["job", step, 0, "hostile"], "part": 0, "parts": 2, "error": ""}, part)
    refused = [header for header, _ in parent.take() if "more lists" in header["error"]]
    assert refused and intake._bytes <= LISTS_OF_NODE
    source = Source(b"content")
    source.offer(intake)
    assert run(source, intake, parent)["error"] == "", "others are served"
    intake.handle({"over": "job"}, b"")
    assert not intake._bytes and not intake._bytes_of_node


def test_nodes_that_send_no_contents_keep_neither_others_nor_their_place(
    intake: Intake, parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Source(b"never sent")
    body = ujson.dumps(silent.rows).encode()
    for step in range(100):
        intake.handle({"offer": ["job", step, 0, "hostile"], "part": 0, "parts": 1, "error": ""}, body)
    settle(intake)
    parent.take()
    source = Source(b"content")
    source.offer(intake)
    assert run(source, intake, parent)["error"] == ""
    monkeypatch.setattr(files, "PATIENCE", -1.0)
    intake.handle({"touch": []}, b"")
    ends = [header for header, _ in parent.take() if "error" in header]
    assert len(ends) == ACTIVE_OF_NODE and all("sent nothing" in header["error"] for header in ends)
    intake.handle({"over": "job"}, b"")

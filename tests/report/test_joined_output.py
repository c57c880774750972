"""Pieces of output joined by their offsets, cut anywhere, sent twice, with gaps; and lines made of them."""

from __future__ import annotations

import random
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director.process.spawn import CAP
from director.report.follow import HALF, Joined, Lines
from director.report.screen import Screen


def piece(data: bytes, offset: int = 0, stream: str = "stdout", node: str = "n1", attempt: int = 1) -> dict[str, Any]:
    text = b64encode(data).decode()
    return {"node": node, "step": 0, "number": 1, "attempt": attempt, "stream": stream, "offset": offset, "data": text}


def ended(out: bytes = b"", err: bytes = b"", **more: Any) -> dict[str, Any]:
    return {
        "node": "n1", "step": 0, "number": 1, "attempt": 1, "state": "success", "exit_code": 0, "reason": "",
        "truncated": 0, "stdout": b64encode(out).decode(), "stderr": b64encode(err).decode(), **more,
    }  # fmt: skip


def rows(*items: dict[str, Any], joined: Joined | None = None) -> list[dict[str, Any]]:
    joined = joined or Joined("j")
    return [row for item in items for row in joined.take(item)]


def lines(*items: dict[str, Any], several: bool = False, screen: Screen | None = None) -> list[str]:
    shown = Lines(several, screen) if screen else Lines(several)
    return [line.rstrip("\n") for row in rows(*items) for line in shown.take(row)]


def text_of(found: list[dict[str, Any]], stream: str = "stdout") -> str:
    return "".join(row["text"] for row in found if row.get("stream") == stream and "text" in row)


@given(st.text(max_size=60), st.integers(0, 2**32))
def test_any_pieces_in_any_overlap_give_the_text_once(text: str, seed: int) -> None:
    data, chance = text.encode("utf-8", "replace"), random.Random(seed)
    joined, found, sent = Joined("j"), [], 0
    while sent < len(data):
        start = chance.randrange(0, sent + 1)
        end = chance.randrange(start, len(data)) + 1
        found += rows(piece(data[start:end], start), joined=joined)
        sent = max(sent, end)
        if chance.random() < 0.2:
            found += rows(piece(data[:sent]), joined=joined)
    found += rows(ended(data), joined=joined)
    assert text_of(found) == data.decode()
    assert not any("skipped" in row for row in found)
    assert found[-1]["state"] == "success"
    assert rows(ended(data), piece(data), joined=joined) == [], "a task ends once"


def test_a_gap_is_said_with_its_size() -> None:
    found = rows(piece(b"one\n"), piece(b"three\n", 1_200_004), ended(b"one\n"))
    assert [row.get("text") or row.get("skipped") for row in found[:3]] == ["one\n", 1_200_000, "three\n"]
    assert lines(piece(b"one\n"), piece(b"three\n", 1_200_004)) == ["n1: one", "n1: … skipped 1.2 MB", "n1: three"]


def test_a_character_is_not_cut() -> None:
    data = "gr\u00fc\u00df\U0001f600\n".encode()
    items = [piece(data[index : index + 1], index) for index in range(len(data))]
    assert lines(*items) == ["n1: gr\u00fc\u00df\U0001f600"]
    assert text_of(rows(piece(b"a\xff\xc3"), ended(b"a\xff\xc3"))) == "a\ufffd\ufffd"


def test_lines_wait_for_their_end_and_progress_is_its_last_state() -> None:
    assert lines(piece(b"a"), piece(b"b\nc", 1), ended(b"ab\nc")) == ["n1: ab", "n1: c"]
    assert lines(piece(b"10%\r20%"), piece(b"\r30%\r", 7), piece(b"\ndone\r\n", 12)) == ["n1: 30%", "n1: done"]
    assert lines(piece(b"x" * 40_000)) == ["n1: " + "x" * 16384] * 2


def test_streams_steps_attempts_and_ends() -> None:
    failed = ended(b"2\n", state="failed", reason="exit code 1", attempt=2)
    items = (piece(b"1\n"), piece(b"bad\n", stream="stderr"), piece(b"1\nlost\n"), failed)
    assert lines(*items, several=True) == [
        "n1[1]: 1", "n1[1]! bad", "n1[1]: lost", "n1[1]: 2", "== n1[1]: failed: exit code 1",
    ]  # fmt: skip
    assert rows(piece(b"2\n", attempt=2), piece(b"1\n"))[-1]["attempt"] == 2, "an earlier attempt is over"


def test_a_node_controls_no_terminal() -> None:
    evil = piece(b"\x1b[2J\x9b\x07\x1b]0;x\n", node="n\x1b1")
    (line,) = lines(evil, screen=Screen(80, 24, True))
    assert line.count("\x1b") == 2, "the colour of the name alone"
    assert "\\x1b[2J" in line and not set(line) & set("\x9b\x07")


@pytest.mark.parametrize("shown", [0, 1000, HALF, HALF + 5000])
def test_an_output_whose_middle_was_left_out(shown: int) -> None:
    assert HALF * 2 == CAP
    head, tail, missing = b"h" * HALF, b"t" * HALF, 7777
    whole = head + b"m" * missing + tail
    found = (
        rows(piece(whole[:shown]), ended(head + tail, truncated=missing))
        if shown
        else rows(ended(head + tail, truncated=missing))
    )
    skipped = max(0, HALF + missing - max(shown, HALF))
    assert [row["skipped"] for row in found if "skipped" in row] == ([skipped] if skipped else [])
    assert text_of(found) == (whole[: max(shown, HALF)] + tail).decode()

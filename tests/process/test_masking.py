"""Values in outputs: masked whole, in pieces of any size, where they overlap, and at the end of a stream."""

from __future__ import annotations

import json
import os
import random
from urllib.parse import quote

import pytest
import ujson

from director.process.masking import Masked, hide_stream, longest_first, patterns_of
from director.process.output import Output


def test_no_way_of_reading_lets_a_value_through() -> None:
    chance = random.Random(7)
    for _ in range(2000):
        values = [bytes(chance.choice(b"ab") for _ in range(chance.randint(4, 9))) for _ in range(chance.randint(1, 3))]
        data = b"".join(chance.choice([b"a", b"b", b"c", *values]) for _ in range(chance.randint(0, 12)))
        masked, found, at = Masked(longest_first(values)), b"", 0
        while at < len(data):
            size = chance.randint(1, 7)
            found += masked.feed(data[at : at + size])
            at += size
        found += masked.end()
        assert not any(value in found for value in values), (values, data)
        assert any(value in data for value in values) or found == data or found.endswith(b"***")


@pytest.mark.parametrize(
    ("value", "output", "masked"),
    [
        (b"s3cr3t\n", b"it is s3cr3t.\n", b"it is ***.\n"),
        (b"first line\nsecond line\n", b"> second line <", b"> *** <"),
        (b"abcd", b"ab", b"ab"),
        (b"abcdefgh", b"x abcdef", b"x ***"),
    ],
)
def test_what_is_masked_of_a_value(value: bytes, output: bytes, masked: bytes) -> None:
    assert hide_stream(output, longest_first(patterns_of(value))) == masked


def test_a_value_is_masked_as_json_python_shells_and_urls_write_it() -> None:
    value = """pa"ss\\w/o'rd \xe9"""
    patterns = longest_first(patterns_of(value.encode()))
    written = (
        json.dumps(value), json.dumps([value], ensure_ascii=False), ujson.dumps(value), repr(value),
        str([value + "x'"]),
        "+ echo " + "'" + value.replace("'", "'\\''") + "'", quote(value),
        f"https://x/?p={quote(value, safe='')}&q",
    )  # fmt: skip
    for text in written:
        masked = hide_stream(text.encode(), patterns)
        assert b"***" in masked and b"ss" not in masked and b"rd" not in masked, (text, masked)
    assert patterns_of(b"plain-value_1") == [b"plain-value_1"]
    lines = patterns_of(b"begin+of/key\n" * 3)
    assert b"begin+of\\/key" in lines and len(lines) < 16


def test_a_value_that_the_bound_of_an_output_divides_is_masked_before() -> None:
    value = os.urandom(20).hex().encode()
    output = Output(100, [value])
    for piece in (b"x" * 40, value[:15], value[15:], b"y" * 200):
        output.add(piece)
    output.end()
    assert value[:10] not in output.value() and output.value().startswith(b"x" * 40 + b"***")

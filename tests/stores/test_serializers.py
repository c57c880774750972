"""Times, state letters and lists as the serializers make them."""

from __future__ import annotations

from director.protocol.framing import Cut
from director.stores.rows import RangeRecord
from director.stores.serializers import PART, fold, iso, lists, members


def test_times_are_iso_8601_in_utc_with_milliseconds() -> None:
    assert iso(None) is None
    assert iso(0) == "1970-01-01T00:00:00.000Z"
    assert [iso(1_790_000_000 + part / 1000) for part in (1, 123, 999)] == [
        f"2026-09-21T14:13:20.{part:03}Z" for part in (1, 123, 999)
    ]
    assert [iso(odd) for odd in (1e20, float("inf"), float("nan"))] == [None, None, None]


def test_a_node_has_the_steps_of_its_blocks_only() -> None:
    meta = {
        "stages": [{"name": "", "nodes": ["a", "b"]}, {"name": "", "nodes": ["b"]}],
        "blocks": [
            {"first": 0, "last": 1, "stage": 0, "nodes": None},
            {"first": 2, "last": 2, "stage": 0, "nodes": ["a"]},
            {"first": 3, "last": 9, "stage": 1, "nodes": None},
        ],
    }
    assert members(meta, 5, ["a", "b"]) == [b"qqq--", b"qq-qq"]


def test_range_ends_cover_existing_tasks_and_the_earlier_one_wins() -> None:
    range_ends = [RangeRecord(2, 3, "K", "", 0), RangeRecord(0, 9, "X", "", 0)]
    assert fold(bytearray(b"qq-qqq"), 1, []) == b"sq-qqq"
    assert fold(bytearray(b"qq-qqq"), 1, range_ends) == b"XX-KXX"


def test_lists_hold_whole_objects_and_end_once_they_are_large() -> None:
    assert list(lists([[b"1" * 4], [b"2" * 4], [b"3", b"4" * 20], [b"5"]], 8)) == [
        b"[1111,2222]",
        b"[3" + b"4" * 20 + b"]",
        b"[5]",
    ]
    assert list(lists([])) == []


def test_a_large_list_comes_in_parts() -> None:
    parts = list(lists([[b"1" * PART, b"2"], [b"3" * PART], [b"4"]], 2 * PART))
    assert parts == [b"[" + b"1" * PART, b"2," + b"3" * PART, b"]", b"[4]"]
    assert [isinstance(part, Cut) for part in parts] == [True, True, False, False]

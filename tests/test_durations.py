"""Durations as users write them."""

from __future__ import annotations

import pytest

from director import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("5", 5), ("1.5", 1.5), ("250ms", 0.25), ("1m30s", 90), ("1h", 3600), ("30d", 2592000), ("1.5h", 5400)],
)
def test_parse(text: str, seconds: float):
    assert durations.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1", "1x", "1m 30s", "1e3", "nan", "inf", "٣", "9" * 400, "999999999d"])
def test_what_is_none_is_said(text: str):
    with pytest.raises(ValueError, match=r"duration|too long"):
        durations.parse(text)

"""Lines of the log."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from director.runtime.logs import Formatter

HOSTILE = "\x1b[2J\r\x9b31m\u202e"


@pytest.mark.parametrize("as_json", [False, True])
def test_what_a_peer_said_controls_no_terminal(as_json: bool) -> None:
    try:
        raise ValueError(f"one {HOSTILE}\nand two")
    except ValueError:
        record = logging.LogRecord("director", logging.ERROR, "", 0, "it said %s", (HOSTILE,), sys.exc_info())
    text = Formatter(as_json).format(record)
    assert all(line.isprintable() for line in text.split("\n"))
    assert "and two" in text and "Traceback" in text
    if as_json:
        assert json.loads(text)["message"] == f"it said {HOSTILE}"
    else:
        assert text.count("\n") >= 3

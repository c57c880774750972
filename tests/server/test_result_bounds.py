"""What of a node's results is kept: of tasks it was given, with outputs and reasons of a bounded size."""

from __future__ import annotations

import pytest

from director.errors import ProtocolError
from director.protocol.results import JobReport, TaskResult
from director.server.result_bounds import OUTPUT_LIMIT, REASON_LIMIT, bounded, with_outputs


def result(step: int, out: int = 0, err: int = 0, reason: str | None = None) -> TaskResult:
    return TaskResult(step, "S", stdout_size=out, stderr_size=err, reason=reason, truncated=5)


def test_usual_results_are_kept_as_they_are() -> None:
    rows = [result(0, 3, 2), result(1, OUTPUT_LIMIT, OUTPUT_LIMIT, "r" * REASON_LIMIT)]
    outputs = b"x" * (5 + 2 * OUTPUT_LIMIT)
    kept = bounded(rows, outputs, 2)
    assert kept[0] is rows and kept[1] is outputs


def test_what_the_node_was_not_given_is_dropped_with_its_outputs() -> None:
    rows = [result(4, 2), result(0, 1, 1), result(-1, 1), result(1, 2)]
    kept, outputs = bounded(rows, b"xxabyyy", 1)
    assert [row.step for row in kept] == [0] and outputs == b"ab"
    assert bounded(rows, b"xxabyyy", None)[0] is rows, "the ledger decides on jobs that are over"


def test_streams_and_reasons_are_cut_and_marked() -> None:
    half = OUTPUT_LIMIT // 2
    stdout = b"a" * half + b"-" * 10 + b"z" * half
    kept, outputs = bounded([result(0, len(stdout), 3, "r" * 3_000_000)], stdout + b"err", 1)
    assert outputs == b"a" * half + b"z" * half + b"err"
    assert (kept[0].stdout_size, kept[0].stderr_size, kept[0].truncated) == (OUTPUT_LIMIT, 3, 15)
    assert kept[0].reason == "r" * REASON_LIMIT


def test_sizes_add_up_to_the_payload() -> None:
    reports = [JobReport("a", [result(0, 1, 1)], [], []), JobReport("b", [result(0, 1)], [], [])]
    assert [outputs for _, outputs in with_outputs(reports, b"xyz")] == [b"xy", b"z"]
    for payload in (b"xy", b"xyzz"):
        with pytest.raises(ProtocolError, match="3 bytes of output"):
            with_outputs(reports, payload)

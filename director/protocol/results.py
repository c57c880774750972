"""Result rows as clients send them: everything about their shape is checked before anything is done."""

from __future__ import annotations

from typing import Any

from director import states as st
from director.errors import ProtocolError
from director.protocol import messages
from director.scheduler.job_state import NodeRun


def checked(entry: Any) -> tuple[str, list[Any], list[Any], list[Any]]:
    """Job, rows, begun and rests of one entry of a `results` message; ProtocolError when no client would send it."""
    try:
        job, rows, begun, rests = entry
        for row in rows:
            _check_row(row)
        if not isinstance(job, str):
            raise ProtocolError("results of a strange shape")
        if not all(isinstance(step, int) and _is_number(at) for step, at in begun):
            raise ProtocolError("results of a strange shape")
        for first, last, letter, reason in rests:
            if not (isinstance(first, int) and isinstance(last, int) and isinstance(reason, str)):
                raise ProtocolError("rests of a strange shape")
            if not isinstance(letter, str) or len(letter) != 1:
                raise ProtocolError("rests of a strange shape")
    except (TypeError, ValueError) as error:
        raise ProtocolError("results of a strange shape") from error
    return job, rows, begun, rests


def _check_row(row: Any) -> None:
    step, letter, code, started, finished, seconds, _, attempt, reason, truncated, out, err, effects = row
    well = (
        isinstance(step, int) and isinstance(letter, str) and len(letter) == 1 and ord(letter) in st.FINAL
        and (code is None or _is_whole(code)) and _is_whole(out) and _is_whole(err) and out >= 0 and err >= 0
        and _is_whole(attempt) and _is_whole(truncated) and _is_number(seconds)
        and (reason is None or isinstance(reason, str))
        and (started is None or _is_number(started)) and (finished is None or _is_number(finished))
        and (effects is None or isinstance(effects, dict))
    )  # fmt: skip
    if not well:
        raise ProtocolError("a result row of a strange shape")


def _is_whole(value: Any) -> bool:
    """Whether every store, and every reader of our JSON, can take it."""
    return isinstance(value, int) and abs(value) < 1 << 53


def _is_number(value: Any) -> bool:
    """The same for seconds and epoch times, up to the year 5138; no infinity, and not NaN."""
    return isinstance(value, messages.NUMBER) and abs(value) < 1e11


def is_late(node: NodeRun, row: Any) -> bool:
    """Whether the task has ended in another way before."""
    return 0 <= row[0] < len(node.states) and node.states[row[0]] != ord(row[1])


def knows_less(node: NodeRun, row: Any) -> bool:
    """Whether the row calls a task lost that has ended in another way."""
    return row[1] == chr(st.LOST) and node.states[row[0]] in st.FINAL - {st.LOST}

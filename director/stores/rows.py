"""Checks and cleans what an operation brings, for every store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import ujson

from director.protocol.results import TaskResult
from director.states import FINAL, GOOD, JOB_FINAL, JOB_QUEUED, JOB_RUNNING
from director.stores.contract import BadOperationError, JobHead

FINAL_LETTERS = frozenset(map(chr, FINAL))
GOOD_LETTERS = frozenset(map(chr, GOOD))
CHANGING = ("state", "started_at", "finished_at", "cancel_at", "cancel_reason")
GIVEN = tuple(name for name in JobHead._fields if name not in (*CHANGING, "counts"))  # with `accept`
MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)


class RangeRecord(NamedTuple):
    """A range end of one node: its tasks from step `first` to `last` ended in `state` without a result each."""

    first: int
    last: int
    state: str
    reason: str
    at: float | None


def malformed(error: Exception) -> BadOperationError:
    """The error for an operation that made the store raise one of `MALFORMED`."""
    return BadOperationError(f"the ledger cannot keep this operation: {error!r}")


def encode(value: Any) -> str:
    """Compact JSON in ASCII, which can hold any text."""
    return ujson.dumps(value, escape_forward_slashes=False)


def clean(value: Any) -> Any:
    """A value as a column keeps it: in text, halves of surrogate pairs become U+FFFD."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def results_of(fields: dict[str, Any], body: bytes = b"") -> Iterator[tuple[Sequence[Any], bytes]]:
    """The values of each `TaskResult` of a `results` or `late_results` operation, text made clean, and its output.

    Raises: BadOperationError when a state is not final or the sizes do not add up to the body's.
    """
    end = 0
    for values in fields["results"]:  # plain sequences, as this runs for every result of a fleet
        _, state, _, _, _, _, _, _, reason, _, out, err, _ = values
        if state not in FINAL_LETTERS or out < 0 or err < 0:
            raise BadOperationError(f"a result has the state {state!r} and outputs of {out} and {err} bytes")
        if reason and not reason.isascii():
            values = TaskResult._make(values)._replace(reason=clean(reason))
        start, end = end, end + out + err
        yield values, body[start:end]
    if end != len(body):
        raise BadOperationError(f"results name {end} bytes of output but came with {len(body)}")


def range_ends_of(fields: dict[str, Any]) -> Iterator[tuple[str, RangeRecord]]:
    """`(node, RangeRecord)` of each item of a `range_ends` operation. Raises BadOperationError."""
    for node, first, last, state, reason, at in fields["items"]:
        if state not in FINAL_LETTERS:
            raise BadOperationError(f"a range end has the state {state!r}")
        yield node, RangeRecord(first, last, state, clean(reason), at)


def changes_of(fields: dict[str, Any]) -> dict[str, Any]:
    """Column to new value of a `job` operation. Raises BadOperationError for a state that no job has."""
    if fields.get("state", JOB_QUEUED) not in (*JOB_FINAL, JOB_QUEUED, JOB_RUNNING):
        raise BadOperationError(f"{fields['state']!r} is no state of a job")
    counts = {"counts": encode(fields["counts"])} if "counts" in fields else {}
    return {**{name: clean(fields[name]) for name in CHANGING if name in fields}, **counts}

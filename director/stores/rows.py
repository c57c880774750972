"""One result as the ledger keeps it: a flat tuple, cut out of an operation's rows and its body of outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import ujson

from director.states import FINAL, GOOD, JOB_FINAL, JOB_QUEUED, JOB_RUNNING
from director.stores.contract import BadOperationError

FINAL_LETTERS = frozenset(map(chr, FINAL))
GIVEN = (
    "id", "name", "kind", "created_at", "submitted_by", "step_count", "node_count", "task_count", "digest",
)  # fmt: skip
CHANGING = ("state", "started_at", "finished_at", "cancel_at")
GOOD_LETTERS = frozenset(map(chr, GOOD))


class TaskRow(NamedTuple):
    """The result of one task; `output` is stdout then stderr, `effects` JSON text or None."""

    step: int
    state: str
    exit_code: int | None
    started_at: float | None
    finished_at: float | None
    execution_time: float | None
    roundtrip_time: float | None
    attempt: int
    reason: str
    truncated: int
    out_len: int
    effects: str | None
    output: bytes


class Rest(NamedTuple):
    """Tasks of a node from step `first` to `last` that ended in `state` without a row each."""

    first: int
    last: int
    state: str
    reason: str
    at: float | None


def encode(value: Any) -> str:
    """Compact JSON that is plain ASCII, so that any text can be kept."""
    return ujson.dumps(value, escape_forward_slashes=False)


def clean(text: str | None) -> str:
    """Text that is valid Unicode (None is empty): halves of surrogate pairs become U+FFFD."""
    if not text or text.isascii():
        return text or ""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def plain(value: Any) -> Any:
    """A value as a column keeps it: text made clean, all else as it is."""
    return clean(value) if isinstance(value, str) else value


def cut_rows(
    fields: dict[str, Any], body: bytes, make: Callable[..., Any] = lambda *values: TaskRow._make(values)
) -> Iterator[Any]:
    """`make` of the 13 values of each row of a `results` or `late` operation, in its order.

    Raises: BadOperationError when a state is not final or the lengths do not add up to the body's.
    """
    at = 0
    for step, state, code, started, finished, took, trip, attempt, reason, cut, out, err, effects in fields["rows"]:
        end = at + out + err
        if state not in FINAL_LETTERS or out < 0 or err < 0:
            raise BadOperationError(f"a result has the state {state!r} and lengths {out} and {err}")
        kept = encode(effects) if effects else None
        yield make(
            step,
            state,
            code,
            started,
            finished,
            took,
            trip,
            attempt,
            clean(reason),
            cut,
            out,
            kept,
            body[at:end],
        )
        at = end
    if at != len(body):
        raise BadOperationError(f"results name {at} bytes of output but came with {len(body)}")


def cut_rests(items: list[list[Any]]) -> Iterator[tuple[str, Rest]]:
    """`(node, Rest)` of each item of a `rest` operation; BadOperationError when a state is not final."""
    for node, first, last, state, reason, at in items:
        if state not in FINAL_LETTERS:
            raise BadOperationError(f"a rest has the state {state!r}")
        yield node, Rest(first, last, state, clean(reason), at)


def check_job_state(fields: dict[str, Any]) -> None:
    """BadOperationError when a `job` operation gives a state that no job has."""
    if fields.get("state", JOB_QUEUED) not in (*JOB_FINAL, JOB_QUEUED, JOB_RUNNING):
        raise BadOperationError(f"{fields['state']!r} is no state of a job")


def digests_of(fields: dict[str, Any]) -> dict[str, int | None]:
    """`{digest: size}` of the blobs an accepted job needs; size None where it was not given."""
    given = fields.get("digests") or fields.get("meta", {}).get("digests") or {}
    return dict(given) if isinstance(given, dict) else dict.fromkeys(given)

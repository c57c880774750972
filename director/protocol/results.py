"""The result of a task as clients send it: a named tuple, checked before anything is done with it."""

from __future__ import annotations

from typing import Any, NamedTuple

from director import states as st
from director.errors import ProtocolError
from director.protocol import messages


class TaskResult(NamedTuple):
    """The end of one task; a JSON list in this order in messages and in the journal.

    Attributes:
        step: its index in the job, from 0.
        state: the letter of a final state (`director.states`).
        exit_code: of the process, None where there was none.
        started_at, finished_at: epoch seconds by the server's clock, None when it never started.
        execution_time: seconds on the node.
        roundtrip_time: seconds from sending the step to receiving the result; the server fills it in.
        attempt: the number of the last attempt, from 1.
        reason: why the task did not succeed, for a person.
        truncated: bytes left out of the outputs.
        stdout_size, stderr_size: bytes of the outputs, which go in the payload.
        effects: values for later steps, as `language.scope.Scope.apply` takes them.
    """

    step: int
    state: str
    exit_code: int | None = None
    started_at: float | None = None
    finished_at: float | None = None
    execution_time: float = 0.0
    roundtrip_time: float = 0.0
    attempt: int = 1
    reason: str | None = None
    truncated: int = 0
    stdout_size: int = 0
    stderr_size: int = 0
    effects: dict[str, Any] | None = None

    @property
    def state_code(self) -> int:
        """The state as a number of `director.states`."""
        return ord(self.state)

    @property
    def output_size(self) -> int:
        """Bytes of stdout and stderr together."""
        return self.stdout_size + self.stderr_size


class JobReport(NamedTuple):
    """The part of a `results` message about one job.

    Attributes:
        job: its id.
        results: tasks that ended.
        begun: (step, epoch seconds) of tasks that started.
        ranges: (first, last, state letter, reason) of tasks that never run.
    """

    job: str
    results: list[TaskResult]
    begun: list[tuple[int, float]]
    ranges: list[tuple[int, int, str, str]]


def check_report(entry: Any) -> JobReport:
    """Check one entry of a `results` message. Raises ProtocolError: it is malformed."""
    try:
        job, rows, begun, ranges = entry
        results = [_check_result(TaskResult._make(row)) for row in rows]
        well = (
            isinstance(job, str)
            and all(isinstance(step, int) and _is_number(at) for step, at in begun)
            and all(_is_range(*values) for values in ranges)
        )
    except (TypeError, ValueError) as error:
        raise ProtocolError("a malformed entry of results") from error
    if not well:
        raise ProtocolError("a malformed entry of results")
    return JobReport(job, results, begun, ranges)


def _check_result(result: TaskResult) -> TaskResult:
    step, letter, code, started, finished, seconds, _, attempt, reason, truncated, out, err, effects = result
    well = (
        isinstance(step, int) and isinstance(letter, str) and len(letter) == 1 and ord(letter) in st.FINAL
        and (code is None or _is_whole(code)) and _is_whole(out) and _is_whole(err) and out >= 0 and err >= 0
        and _is_whole(attempt) and _is_whole(truncated) and _is_number(seconds)
        and (reason is None or isinstance(reason, str))
        and (started is None or _is_number(started)) and (finished is None or _is_number(finished))
        and (effects is None or (isinstance(effects, dict) and messages.is_shallow(effects)))
    )  # fmt: skip
    if not well:
        raise ProtocolError("a malformed result")
    return result


def _is_range(first: Any, last: Any, letter: Any, reason: Any) -> bool:
    numbers = isinstance(first, int) and isinstance(last, int)
    return numbers and isinstance(reason, str) and isinstance(letter, str) and len(letter) == 1


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and abs(value) < messages.WHOLE_LIMIT


def _is_number(value: Any) -> bool:
    """Whether the value is a finite number of seconds, up to the year 5138."""
    return isinstance(value, messages.NUMBER) and abs(value) < 1e11

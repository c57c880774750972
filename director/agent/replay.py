"""Results that the server had stored and knows no more, as it goes on from an older backup: they are told again.

The journal keeps the row of every result until its job is closed, the outputs only until they were stored.
"""

from __future__ import annotations

from collections.abc import Collection

from director.agent.journal.state import JobRecord
from director.protocol.results import TaskResult


def forgotten(record: JobRecord, open_there: int) -> list[TaskResult]:
    """What to tell again when the server counts `open_there` open steps here: nothing when so many can be open."""
    told = _told(record)
    return _without_outputs(record, told) if open_there > len(record.handed - told) else []


def repeated(record: JobRecord, steps: Collection[int]) -> list[TaskResult]:
    """What to tell again of `steps`, which the server has just given once more."""
    return _without_outputs(record, _told(record).intersection(steps))


def _told(record: JobRecord) -> set[int]:
    """Steps of which the server had stored the result."""
    return record.done.keys() - record.results.keys()


def _without_outputs(record: JobRecord, steps: Collection[int]) -> list[TaskResult]:
    """Their rows; what the outputs had is counted as left out."""
    rows = [TaskResult._make(record.done[step]) for step in sorted(steps)]
    return [row._replace(truncated=row.truncated + row.output_size, stdout_size=0, stderr_size=0) for row in rows]

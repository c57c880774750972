"""Replay: which results to send again to a server that was restored from an older ledger.

The journal keeps the row of every result until its job is closed, the outputs only until they are stored.
"""

from __future__ import annotations

from collections.abc import Collection

from director.agent.journal.state import JobRecord
from director.protocol.results import TaskResult


def forgotten(record: JobRecord, open_there: int) -> list[TaskResult]:
    """Every stored result if the server counts more open tasks (`open_there`) than are open here, else none."""
    stored = _stored(record)
    return _without_outputs(record, stored) if open_there > len(record.given - stored) else []


def repeated(record: JobRecord, steps: Collection[int]) -> list[TaskResult]:
    """The stored results of `steps`, which the server has given again."""
    return _without_outputs(record, _stored(record).intersection(steps))


def _stored(record: JobRecord) -> set[int]:
    """Steps whose result the server had stored."""
    return record.done.keys() - record.results.keys()


def _without_outputs(record: JobRecord, steps: Collection[int]) -> list[TaskResult]:
    """Their results; the outputs, which are gone, count as truncated."""
    rows = [TaskResult._make(record.done[step]) for step in sorted(steps)]
    return [row._replace(truncated=row.truncated + row.output_size, stdout_size=0, stderr_size=0) for row in rows]

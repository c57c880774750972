"""What of a node's results is kept, whatever it sent: of tasks it was given, with bounded outputs. Pure."""

from __future__ import annotations

from director.errors import ProtocolError
from director.protocol.results import JobReport, TaskResult

OUTPUT_LIMIT = 1024 * 1024  # bytes of each stream, as clients keep them
REASON_LIMIT = 4000  # characters; clients send 2,000 at most


def with_outputs(reports: list[JobReport], payload: bytes) -> list[tuple[JobReport, bytes]]:
    """Each report with the outputs of its results. Raises ProtocolError: the sizes do not add up to the payload."""
    found, start = [], 0
    for report in reports:
        end = start + sum([result.output_size for result in report.results])
        found.append((report, payload[start:end]))
        start = end
    if start != len(payload):
        raise ProtocolError(f"results name {start} bytes of output and come with {len(payload)}")
    return found


def bounded(results: list[TaskResult], outputs: bytes, cursor: int | None) -> tuple[list[TaskResult], bytes]:
    """The results that are kept, and their outputs one after another.

    Args:
        cursor: results of this step and later ones are dropped: the node was not given them; None drops none.
    """
    if all([_is_well(result, cursor) for result in results]):
        return results, outputs
    kept: list[TaskResult] = []
    texts: list[bytes] = []
    start = 0
    for result in results:
        middle, end = start + result.stdout_size, start + result.output_size
        if cursor is None or 0 <= result.step < cursor:
            streams = outputs[start:middle], outputs[middle:end]
            stdout, stderr = [_cut(stream) for stream in streams]
            left_out = result.output_size - len(stdout) - len(stderr)
            reason = result.reason and result.reason[:REASON_LIMIT]
            kept.append(
                result._replace(
                    reason=reason, stdout_size=len(stdout), stderr_size=len(stderr),
                    truncated=result.truncated + left_out,
                )
            )  # fmt: skip
            texts += stdout, stderr
        start = end
    return kept, b"".join(texts)


def _is_well(result: TaskResult, cursor: int | None) -> bool:
    return (
        (cursor is None or 0 <= result.step < cursor)
        and result.stdout_size <= OUTPUT_LIMIT and result.stderr_size <= OUTPUT_LIMIT
        and (result.reason is None or len(result.reason) <= REASON_LIMIT)
    )  # fmt: skip


def _cut(stream: bytes) -> bytes:
    """The first and the last half of what is too long, as clients keep it."""
    half = OUTPUT_LIMIT // 2
    return stream if len(stream) <= OUTPUT_LIMIT else stream[:half] + stream[-half:]

"""Where the chunks of a job begin, and which blobs their steps need."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from director.protocol.messages import STEPS_PER_CHUNK


class StepRange(NamedTuple):
    """Steps `first` to `last`, within one chunk and one block."""

    first: int
    last: int


class Chunks:
    """The chunks of one job. All steps of a chunk go to the same nodes.

    Args:
        rows: `{"first", "contents"}` of each chunk, as a plan's meta has them.
        steps: of the job.

    Attributes:
        firsts: the first step of each chunk, rising.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], steps: int) -> None:
        self.firsts = [row["first"] for row in rows]
        self._rows, self._steps = rows, steps

    def first(self, step: int) -> int:
        """The first step of the chunk that has this step."""
        first: int = self.firsts[bisect_right(self.firsts, step) - 1]
        return first

    def end(self, step: int) -> int:
        """The first step behind the chunk that has this step."""
        index = bisect_right(self.firsts, step)
        return self.firsts[index] if index < len(self.firsts) else self._steps

    def slices(self, ranges: Iterable[StepRange]) -> Iterator[list[StepRange]]:
        """The ranges of each message: those of one chunk, or of several that have few steps in all."""
        found: list[StepRange] = []
        before, size = -1, 0
        for steps in ranges:
            first = self.first(steps.first)
            width = self.end(first) - first
            if first != before and found and size + width > STEPS_PER_CHUNK:
                yield found
                found, size = [], 0
            size += width if first != before else 0
            found.append(steps)
            before = first
        if found:
            yield found

    def contents(self, step: int) -> Collection[str]:
        """What the chunk with this step needs: digests, and names as in `transfer.blob_lists`."""
        contents: Collection[str] = self._rows[bisect_right(self.firsts, step) - 1].get("contents", ())
        return contents

"""Where the chunks of a job begin, and which blobs their steps need."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from typing import Any


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

    def contents(self, step: int) -> Collection[str]:
        """What the chunk with this step needs: digests, and names as in `transfer.blob_lists`."""
        contents: Collection[str] = self._rows[bisect_right(self.firsts, step) - 1].get("contents", ())
        return contents

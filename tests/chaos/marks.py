"""What the tasks themselves wrote: one file a node, one line at each start and each good end."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

Key = tuple[str, int, str]  # job, step, node


class Marks:
    """Starts and ends by job, step and node.

    Attributes:
        starts, ends: pids in the order they were written.
        torn: lines that are not a whole mark.
    """

    def __init__(self) -> None:
        self.starts: dict[Key, list[int]] = defaultdict(list)
        self.ends: dict[Key, list[int]] = defaultdict(list)
        self.torn: list[str] = []

    @classmethod
    def read(cls, folder: Path, only: set[str] | None = None) -> Marks:
        """All files of a folder, or those of some nodes."""
        marks = cls()
        for path in sorted(folder.iterdir()):
            if only is None or path.name in only:
                for line in path.read_text().splitlines():
                    marks._take(path.name, line)
        return marks

    def _take(self, node: str, line: str) -> None:
        words = line.split()
        if len(words) != 5 or words[0] not in ("start", "end") or words[3] != node:
            self.torn.append(f"{node}: {line}")
            return
        table = self.starts if words[0] == "start" else self.ends
        table[words[1], int(words[2]), node].append(int(words[4]))

    def pids(self, job: str, step: int, node: str) -> list[int]:
        """The processes that a step had on a node."""
        return self.starts.get((job, step, node), [])

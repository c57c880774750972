"""The parameters of a bench: how large and how often to measure, and its folder on a real disk."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
SIZES = ("full", "quick", "tiny")


@dataclass(frozen=True)
class Bench:
    """One call of the script.

    Attributes:
        size: `full`, `quick` (a tenth of the fleet) or `tiny` (the tests' own).
        runs: how often each figure is taken, at least once.
        folder: for state folders, deleted at the end.
    """

    size: str
    runs: int
    folder: Path

    def pick(self, full: T, quick: T, tiny: T) -> T:
        """The value for this size."""
        return dict(zip(SIZES, (full, quick, tiny), strict=True))[self.size]

    def place(self) -> Path:
        """A new folder for one fleet or one measure; short, as a UNIX socket's path has to be."""
        return Path(tempfile.mkdtemp(dir=self.folder))


def limit(module: str, *args: object) -> str:
    """Run one of `benches/limits` in a process of its own; its standard output."""
    words: Sequence[str] = [sys.executable, "-m", f"benches.limits.{module}", *map(str, args)]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, timeout=900).stdout


def say(text: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()

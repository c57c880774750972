"""Samples the stacks of a process for `--profile FOLDER`, in folded form for speedscope, flamegraph.pl and the like.

A thread looks at all others. Start it before gevent patches anything, as it must not wait in gevent's loop.
"""

from __future__ import annotations

import _thread
import os
import sys
import time
from collections import Counter

from director.errors import UsageError

EVERY = 0.005  # seconds between two looks
WRITE_EVERY = 5.0  # seconds between two versions of the file
DEEP = 60  # innermost frames of a stack that are kept
STACKS = 20_000  # different ones; more are counted as `(other)`
_sleep = time.sleep  # gevent replaces it


class Sampler:
    """Counts stacks until the process ends.

    Args:
        folder: where `director-ROLE-PID.folded` is written; it is made when it is missing.
        role: what the process is, for the name.

    Raises:
        UsageError: the folder cannot be written.
    """

    def __init__(self, folder: str, role: str) -> None:
        self.path = os.path.join(folder, f"director-{role}-{os.getpid()}.folded")
        self._counts: Counter[str] = Counter()
        try:
            os.makedirs(folder, exist_ok=True)
            self.write()
        except OSError as error:
            raise UsageError(f"--profile {folder}: {error.strerror}; expected a folder that can be written") from error
        _thread.start_new_thread(self._run, ())

    def write(self) -> None:
        """Replace the file by the counts so far. Raises OSError."""
        lines = [f"{stack} {count}\n" for stack, count in self._counts.copy().items()]
        with open(f"{self.path}.new", "w", encoding="utf-8") as file:
            file.writelines(lines)
        os.replace(f"{self.path}.new", self.path)

    def _run(self) -> None:
        own, written = _thread.get_ident(), time.monotonic()
        while True:
            _sleep(EVERY)
            for thread, frame in sys._current_frames().items():
                if thread != own:
                    stack = _folded(frame)
                    known = stack in self._counts or len(self._counts) < STACKS
                    self._counts[stack if known else "(other)"] += 1
            if time.monotonic() - written > WRITE_EVERY:
                written = time.monotonic()
                try:
                    self.write()
                except OSError:
                    return  # the disk is full: end the profile, not the work


def _folded(frame: object) -> str:
    names: list[str] = []
    while frame is not None and len(names) < DEEP:
        code = frame.f_code  # type: ignore[attr-defined]
        names.append(f"{os.path.basename(code.co_filename)}:{code.co_name}")
        frame = frame.f_back  # type: ignore[attr-defined]
    return ";".join(reversed(names))


_samplers: list[Sampler] = []


def start(folder: str, role: str) -> None:
    """Sample this process from now on. Raises UsageError: the folder cannot be written."""
    _samplers.append(Sampler(folder, role))


def finish() -> None:
    """Write what was counted, at the end of the process."""
    for sampler in _samplers:
        try:
            sampler.write()
        except OSError as error:
            sys.stderr.write(f"director: {sampler.path} cannot be written: {error.strerror}\n")
    _samplers.clear()

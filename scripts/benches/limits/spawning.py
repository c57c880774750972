"""Compiles and runs spawn.c: how quickly this machine runs small commands with both cores and no Python at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

FLOOR = 50  # spawns: a smaller count measures the forks of the program itself


@cache
def _program() -> str:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise SystemExit("bench: no C compiler for scripts/benches/limits/spawn.c: install gcc (apt-get install gcc)")
    folder = tempfile.TemporaryDirectory(prefix="bench-spawn-")
    program = Path(folder.name, "spawn")
    source = Path(__file__).with_name("spawn.c")
    subprocess.run([compiler, "-O2", "-Wall", "-o", str(program), str(source)], check=True)
    _KEPT.append(folder)  # deleted with the interpreter
    return str(program)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def seconds(count: int, command: str, expected: str = "", processes: int = 0) -> float:
    """Seconds that `count` runs of `/bin/sh -c command` take; on all cores unless told how many processes."""
    cores = processes or len(os.sched_getaffinity(0))
    words = [_program(), str(max(count, FLOOR)), str(cores), command, expected]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    return float(done.stdout) * count / max(count, FLOOR)


def rate(count: int, command: str, expected: str = "") -> float:
    """Spawns a second on all cores."""
    return count / seconds(count, command, expected)

"""A wall clock for one process of a fleet that a test may set, without touching the machine's.

clock = Clock(fleet.folder, "server")
fleet.spawn("server", options, clock.environment(fleet))
clock.set(-7200)
"""

from __future__ import annotations

from pathlib import Path

from harness import Fleet

SHIM = """import os, time
_clock = os.environ.get("FLEET_CLOCK")
if _clock:
    _fd, _real = os.open(_clock, os.O_RDONLY), time.time
    time.time = lambda: _real() + float(os.pread(_fd, 32, 0))
"""


class Clock:
    """What one process, and those that it starts, take for the time of day."""

    def __init__(self, folder: Path, name: str) -> None:
        self._shim = folder / "shim"
        self._shim.mkdir(exist_ok=True)
        (self._shim / "sitecustomize.py").write_text(SHIM)
        self._file = folder / f"{name}.clock"
        self._file.write_bytes(b"0".ljust(32))

    def environment(self, fleet: Fleet) -> dict[str, str]:
        """The variables with which to start the process."""
        path = f"{self._shim}:{fleet.environment['PYTHONPATH']}"
        return {"PYTHONPATH": path, "FLEET_CLOCK": str(self._file)}

    def set(self, seconds: float) -> None:
        """From now on the clock is so many seconds ahead of the machine's, or behind it."""
        with open(self._file, "r+b") as file:
            file.write(f"{seconds:g}".encode().ljust(32))

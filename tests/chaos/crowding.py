"""A cgroup for one client in which there may be few processes, and a crowd that takes all that are left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness import own_cgroup

MOST = 200  # processes and threads of the client, its tasks and the crowd together
PIDS = Path("/sys/fs/cgroup/pids")  # cgroup v1

# it ends by itself, and is no more than the cgroup allows, whatever becomes of who started it
CROWD = """
import os, sys, time
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    try:
        if os.fork() == 0:
            time.sleep(max(0, end - time.monotonic()))
            os._exit(0)
    except OSError:
        time.sleep(0.02)
"""


class SmallCgroup:
    """`folder` is None where none with a bound for processes can be made."""

    def __init__(self) -> None:
        self.folder = next(filter(None, map(_made, (PIDS, own_cgroup()))), None)

    def take(self, pid: int) -> None:
        """Have this process and what it will start count."""
        if self.folder is not None:
            (self.folder / "cgroup.procs").write_text(str(pid))

    def crowd(self, seconds: float, env: dict[str, str]) -> subprocess.Popen[bytes]:
        """Leave room for no further process, for so long at most; return when there is none."""
        assert self.folder is not None
        script = f'echo $$ >{self.folder}/cgroup.procs && exec "$@"'
        command = ["/bin/sh", "-c", script, "-", sys.executable, "-I", "-S", "-c", CROWD, str(seconds)]
        process = subprocess.Popen(command, env=env, start_new_session=True)
        until = time.monotonic() + seconds
        while int((self.folder / "pids.current").read_text()) < MOST and time.monotonic() < until:
            time.sleep(0.01)
        return process

    def remove(self) -> None:
        """End who is left in it, and take it away."""
        while self.folder is not None and self.folder.exists():
            for pid in map(int, (self.folder / "cgroup.procs").read_text().split()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                self.folder.rmdir()
            time.sleep(0.01)


def disperse(crowd: subprocess.Popen[bytes]) -> None:
    """The crowd goes; it has a process group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(crowd.pid, signal.SIGKILL)
    crowd.wait(30)


def _made(parent: Path | None) -> Path | None:
    """A cgroup with the bound set, where `parent` has that controller."""
    if parent is None:
        return None
    folder = parent / f"director-chaos-{os.getpid()}"
    with contextlib.suppress(OSError):
        folder.mkdir()
        try:
            (folder / "pids.max").write_text(str(MOST))
            return folder
        except OSError:
            folder.rmdir()
    return None

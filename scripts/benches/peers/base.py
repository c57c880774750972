"""What a peer must be able to do here, and how it is verified that the work was done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from benches.bench import say
from benches.fleet import until


class Work:
    """A command that leaves one line each time it runs."""

    def __init__(self, marks: Path) -> None:
        self._marks = marks
        self.command = f"echo hello world >> {marks}"

    def verified(self, times: int, act: Callable[[], None]) -> float:
        """Seconds `act` takes; the command must have run so many times by its end."""
        self._marks.write_text("")
        began = time.perf_counter()
        act()
        took = time.perf_counter() - began
        found = self._marks.read_text().count("hello world\n")
        if found != times:
            raise AssertionError(f"the command was to run {times} times and ran {found} times")
        return took


@cache
def environment_of(packages: tuple[str, ...]) -> Path:
    """The folder of programs of a new environment with these packages, kept until this program ends."""
    holder = tempfile.TemporaryDirectory(prefix="director-bench-peer-", dir="/var/tmp")
    _KEPT.append(holder)
    say(f"peers: installing {' '.join(packages)}")
    subprocess.run([sys.executable, "-m", "venv", holder.name], check=True)
    programs = Path(holder.name, "bin")
    pip = [str(programs / "python"), "-m", "pip", "--disable-pip-version-check", "-q", "--no-input", "install"]
    subprocess.run([*pip, *packages], check=True, stdout=sys.stderr)
    return programs


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


class Peer:
    """One tool with its daemons.

    Attributes:
        name, version, packages: what is installed.
        note: how it was set up, where that matters for the comparison.
        most_steps: more than this would take too long; the time is scaled up from it.
    """

    name = ""
    version = ""
    packages: tuple[str, ...] = ()
    note = ""
    most_steps = 1_000_000

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes = 0
        self.programs = Path()
        self._daemons: list[subprocess.Popen[bytes]] = []

    def install(self) -> None:
        """Make the environment, once for all folders."""
        self.programs = environment_of(self.packages)

    def start(self, nodes: int) -> None:
        """Start what the tool needs for so many nodes, and return when they can be reached."""
        self.nodes = nodes

    def one(self, command: str) -> None:
        """Run the command on every node by the tool's cold CLI."""
        raise NotImplementedError

    def steps(self, command: str, count: int) -> None:
        """Run the command so many times, one after another, on every node."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Of everything that is started here."""
        places = f"{self.programs}:{os.environ.get('PATH', '')}"
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return {**kept, "PATH": places, "HOME": str(self.folder)}

    def daemon(self, *words: str) -> None:
        """Start a daemon of the tool in a session of its own."""
        with open(self.folder / f"daemon-{len(self._daemons)}.log", "wb") as log:
            self._daemons.append(
                subprocess.Popen(self._words(words), cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=log, start_new_session=True)
            )  # fmt: skip

    def call(self, *words: str) -> str:
        """Standard output of the tool's CLI, which must end well."""
        done = subprocess.run(self._words(words), cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=1800, check=False)  # fmt: skip
        if done.returncode:
            raise ChildProcessError(f"{words[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
        return done.stdout

    def reached(self, check: Callable[[], bool], what: str) -> None:
        """Wait until the check is true; a CLI that fails meanwhile is asked again."""

        def patient() -> bool:
            try:
                return check()
            except (ChildProcessError, ValueError):
                return False

        until(patient, what, 300, 1.0)

    def _words(self, words: tuple[str, ...]) -> list[str]:
        return [str(self.programs / words[0]), *words[1:]]

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            for daemon in self._daemons:
                try:
                    os.killpg(daemon.pid, sign)  # a session of its own: nobody else's processes are in it
                except ProcessLookupError:
                    continue
            time.sleep(2.0 if sign == signal.SIGTERM and self._daemons else 0.0)
        for daemon in self._daemons:
            daemon.wait()

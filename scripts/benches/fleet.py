"""One server with local or simulated clients for a bench, on own ports and state folders, ended to the last process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ujson

from benches import machine
from benches.operator import Operator

ROOT = Path(__file__).resolve().parents[2]
LAGS: list[tuple[float, float]] = []  # of the servers that ended in this bench: longest turn, most CPU in one; seconds
CONFIG = """\
# a user's settings file, as in ~/.config on a real machine
socket-path: {socket}
no-header: false
limit: 100
"""


def director_command() -> list[str]:
    """The `director` of this environment as a user calls it, else the module."""
    script = Path(sys.executable).parent / "director"
    return [str(script)] if script.exists() else [sys.executable, "-m", "director"]


def environment() -> dict[str, str]:
    """The caller's, without settings of director and without the bench's own places to import from."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DIRECTOR_", "XDG_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # pip compiles what it installs, so a user never runs without
    own = {str(ROOT), str(ROOT / "scripts")}
    given = [os.path.abspath(place) for place in kept.pop("PYTHONPATH", "").split(":") if place]
    places = [place for place in given if place not in own]
    if len(director_command()) > 1:
        places.insert(0, str(ROOT))
    return {**kept, **({"PYTHONPATH": ":".join(places)} if places else {})}


def free_ports(count: int) -> list[int]:
    """Free ports, below those that the kernel gives to connections."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            port = 1024 + int.from_bytes(os.urandom(4), "big") % (low - 1024)
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("0.0.0.0", port))
                found.append(port)
    return found


def until(check: Callable[[], bool], what: str, seconds: float, every: float = 0.05) -> None:
    """Return when `check` is true; TimeoutError with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(every)


class Fleet:
    """A server, its clients and the commands of its user.

    Args:
        folder: an empty one, for states, logs and the socket.
        beat: heartbeat interval, the default of the product unless said.
    """

    def __init__(self, folder: Path, beat: str = "10s") -> None:
        self.folder, self.beat = folder, beat
        self.port, self.enroll_port = free_ports(2)
        self.socket = folder / "sock"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        settings = folder / "home/.config/director"
        settings.mkdir(parents=True)
        (settings / "director.yaml").write_text(CONFIG.format(socket=self.socket))
        (folder / "none.yaml").touch()
        self.environment = {**environment(), "HOME": str(folder / "home")}

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # processes

    def start_server(self) -> None:
        """Start the server and return when it answers."""
        own = ["--bind-address", "127.0.0.1", "--port", str(self.port), "--heartbeat-interval", self.beat]
        own += ["--enroll-port", str(self.enroll_port), "--socket-path", str(self.socket)]
        self._spawn("server", [*director_command(), "--server", *own, "--state-dir", str(self.folder / "server")])
        until(self._answers, "the server answers", 60)

    def start_clients(self, first: int, last: int, port: int = 0) -> None:
        """Start local clients `node-FIRST` to `node-LAST`, by way of another port, and return when all are online."""
        where = ["--server-address", f"127.0.0.1:{port or self.port}", "--enroll-port", str(self.enroll_port)]
        for number in range(first, last + 1):
            name = f"node-{number}"
            own = ["--client", *where, "--identity", name, "--state-dir", str(self.folder / name)]
            self._spawn(name, [*director_command(), *own])
        self.wait_online(last)

    def simulate(self, count: int, *options: str) -> None:
        """Start a simulated fleet `sim-00000` … and return when all of it is online."""
        where = ["--port", str(self.port), "--enroll-port", str(self.enroll_port)]
        places = [str(ROOT), str(ROOT / "scripts"), self.environment.get("PYTHONPATH", "")]
        words = [sys.executable, "-m", "simulation", str(count), *where, *options]
        more = {"PYTHONPATH": os.pathsep.join(places), "DIRECTOR_TOKEN": self.token()}
        self._spawn("simulator", words, more)
        self.wait_online(count)

    def token(self) -> str:
        """A token for any number of nodes: without one an address enrols 20 nodes a second."""
        words = [*director_command(), "--create-token", "--socket-path", str(self.socket)]
        made = subprocess.run(words, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=True)
        return made.stdout.strip()

    def _spawn(self, name: str, words: list[str], more: dict[str, str] | None = None) -> None:
        env = {**self.environment, "DIRECTOR_CONFIG_FILE": str(self.folder / "none.yaml"), **(more or {})}
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                words, cwd=self.folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _alive(self) -> None:
        for name, process in self.processes.items():
            if process.poll() is not None:
                tail = (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]
                raise ChildProcessError(f"{name} ended with {process.returncode}:\n{tail}")

    def _answers(self) -> bool:
        self._alive()
        with contextlib.suppress(OSError), self.operator():
            return True
        return False

    def wait_online(self, count: int, seconds: float = 180.0) -> None:
        """Return when so many nodes are online."""

        def enough() -> bool:
            self._alive()
            with self.operator() as operator:
                return operator.online() >= count

        until(enough, f"{count} nodes are online", seconds, 0.2 if count < 1000 else 0.5)

    def pids(self, name: str) -> list[int]:
        """The process and its descendants."""
        return machine.tree(self.processes[name].pid)

    def kill(self, name: str) -> None:
        """Send SIGKILL to this process and wait for its end."""
        if name == "server":
            self._note_lag()
        self.processes[name].kill()
        self.processes.pop(name).wait()

    def _note_lag(self) -> None:
        """Keep the longest turn of the server's loop, for the last row of the bench."""
        with contextlib.suppress(OSError, RuntimeError), self.operator() as operator:
            hello = ujson.loads(operator.ask("hello")[0])
            LAGS.append((hello["lag_ever"], hello["busy_ever"]))

    def close(self) -> None:
        """End everything, by SIGKILL after five seconds."""
        self._note_lag()
        workers = [pid for name in self.processes for pid in self.pids(name)[1:]]
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        end = time.monotonic() + 5
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, end - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its own session has no processes of others
            process.wait()
        until(lambda: not any(map(machine.runs, workers)), "the workers end with their server", 10)

    # commands

    def operator(self) -> Operator:
        """A connection to the operator's socket."""
        return Operator(str(self.socket))

    def timed(self, *args: str, exit_code: int = 0) -> float:
        """Seconds from the start of a user's cold `director` to its exit, which must be `exit_code`."""
        words = [*director_command(), *args]
        began = time.perf_counter()
        done = subprocess.run(words, cwd=self.folder, env=self.environment, capture_output=True, check=False)
        took = time.perf_counter() - began
        if done.returncode != exit_code:
            text = (done.stderr or done.stdout)[-2000:].decode(errors="replace")
            raise ChildProcessError(f"director {' '.join(args)[:200]} ended with {done.returncode}: {text}")
        return took

    def check(self, tasks: int, output: str | None = None) -> dict[str, Any]:
        """The newest job, which must have so many tasks, all successful, each with this standard output."""
        with self.operator() as operator:
            job = operator.job("last")
        if job["tasks"]["success"] != tasks or job["tasks"]["total"] != tasks:
            raise AssertionError(f"not every task was done: {job['tasks']}")
        tasks_done = (task for step in job["steps"] for task in step["tasks"])
        wrong = [task for task in tasks_done if output is not None and task["stdout"] != output]
        if wrong:
            raise AssertionError(f"{len(wrong)} tasks have the wrong output, the first: {wrong[0]}")
        return job

"""Real servers, clients and commands for end-to-end tests: started, watched, killed and always ended.

with Fleet() as fleet:
    fleet.start_server()
    names = fleet.start_clients(3)
    fleet.wait_online(names)
    job = fleet.run_json("--exec", "RUN uptime", "--wait")
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
CGROUPS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
MARK = "FLEET_FOLDER"  # in the environment of all that is started, tasks included
SECRET = "s3cr3t-Kanarienvogel-42"  # what tests give as a secret; no file of any fleet may have it
PATIENCE = 120.0  # seconds; ends a test that waits for what never comes, and says nothing of speed
T = TypeVar("T")


def wait_until(check: Callable[[], T], what: str, timeout: float = PATIENCE, every: float = 0.05) -> T:
    """The first true answer of `check`; AssertionError with `what` after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not after {timeout:g} s: {what}; last answer: {answer!r}")
        time.sleep(every)


def free_ports(count: int) -> list[int]:
    """TCP ports nobody listens on, below the range the kernel hands out to connections."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as limits:
        low = int(limits.read().split()[0])
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for _ in range(2000):
            if len(found) == count:
                return found
            port = 1024 + int.from_bytes(os.urandom(4), "big") % (low - 1024)
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("0.0.0.0", port))
                found.append(port)
    raise AssertionError("no free ports")


def clean_environment(**more: str) -> dict[str, str]:
    """The caller's environment without its settings of director; modules are compiled once, not at each start."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DIRECTOR_", "XDG_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


def marked_processes(folder: Path) -> list[int]:
    """Every process with this fleet's mark in its environment."""
    mark = f"{MARK}={folder}".encode()
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit() and mark in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                found.append(int(entry))
    return found


def cgroup_of(note: Path) -> Path | None:
    """The mounted path of the cgroup that a client remembers in its state folder; None when it has none."""
    with contextlib.suppress(OSError):
        path = note.read_text().strip().lstrip("/")
        return next((found for top in CGROUPS if (found := Path(top, path)).is_dir()), None)
    return None


def pids_in(cgroup: Path) -> set[int]:
    """The processes in it."""
    try:
        return set(map(int, (cgroup / "cgroup.procs").read_text().split()))
    except OSError:
        return set()


def own_cgroup() -> Path | None:
    """The folder of the cgroup in which tests run; None where none can be made in it, so that clients have none."""
    with open("/proc/self/cgroup", encoding="utf-8") as lines:
        path = next((line[3:].strip().lstrip("/") for line in lines if line.startswith("0::")), "")
    for top in CGROUPS:
        probe = Path(top, path, f"probe-{os.getpid()}")
        with contextlib.suppress(OSError):
            if (probe.parent / "cgroup.procs").exists():
                probe.mkdir()
                probe.rmdir()
                return probe.parent
    return None


def remove_cgroup(folder: Path) -> None:
    """End the processes in a client's cgroup and remove it, as a killed client could not."""
    tasks = [path.name for path in folder.glob("task-*")]
    for name in ("tasks", "loose", *tasks, "."):
        end = time.monotonic() + 5
        while (left := pids_in(folder / name)) and time.monotonic() < end:
            for pid in left - {0}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.normpath(folder / name))


def children_of(pid: int) -> dict[int, str]:
    """Pid and command line of the process's children."""
    found = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in (thread / "children").read_text().split():
                command = Path("/proc", child, "cmdline").read_bytes()
                found[int(child)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def cpu_seconds(pid: int) -> float:
    """User and system time the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def files_with(text: str, folder: Path) -> list[str]:
    """The files below a folder that have this text."""
    words = ["grep", "--recursive", "--files-with-matches", "--fixed-strings", "--text", "--devices=skip", "--", text]
    return subprocess.run([*words, str(folder)], capture_output=True, text=True, check=False).stdout.splitlines()


class Fleet:
    """One server, its clients and the commands that ask it, in one folder and on own ports."""

    def __init__(self, *, beat: str = "1s") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fleet-"))  # short, as a UNIX socket's path has to be
        self.port, self.enroll_port = free_ports(2)
        self.socket_path = self.folder / "director.sock"
        self.beat = beat
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.commands: dict[str, list[str]] = {}
        self.programs: dict[str, list[str]] = {}  # what is run in place of `-m director`
        self.environments: dict[str, dict[str, str]] = {}
        self.bounds: dict[str, list[str]] = {}  # words before the command of the server or a client: prlimit …
        (self.folder / "home").mkdir()
        self.temporary = self.folder / "tmp"  # a file that is left there is of this fleet
        self.temporary.mkdir()
        (self.folder / "none.yaml").touch()
        self.environment = clean_environment(
            HOME=str(self.folder / "home"), TMPDIR=str(self.temporary), PYTHONPATH=str(ROOT)
        )
        self.environment[MARK] = str(self.folder)
        self.environment["DIRECTOR_CONFIG_FILE"] = str(self.folder / "none.yaml")  # none of the machine's

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # processes

    def start_server(self, *options: str) -> None:
        """Start the server and return when it answers."""
        own = ["--bind-address", "127.0.0.1", "--port", str(self.port), "--heartbeat-interval", self.beat]
        own += ["--enroll-port", str(self.enroll_port), "--socket-path", str(self.socket_path)]
        self.spawn("server", ["--server", *own, "--state-dir", str(self.folder / "server"), *options])
        self.wait_server()

    def wait_server(self, timeout: float = PATIENCE) -> None:
        """Return when the server answers; fail at once when it has ended."""

        def answers() -> bool:
            code = self.processes["server"].poll()
            assert code is None, f"the server ended with {code}:\n{self.log('server')}"
            return self.socket_path.exists() and self.director("--list-nodes").returncode == 0

        wait_until(answers, "the server answers", timeout)

    def start_client(self, name: str, *options: str, env: dict[str, str] | None = None) -> None:
        """Start a client by this name; `options` may name another identity."""
        own = ["--server-address", f"127.0.0.1:{self.port}", "--enroll-port", str(self.enroll_port)]
        identity = [] if "--identity" in options or env else ["--identity", name]
        state = ["--state-dir", str(self.folder / name)]
        self.spawn(name, ["--client", *own, *identity, *state, *options], env)

    def start_clients(self, count: int, *options: str, prefix: str = "node-") -> list[str]:
        """Start clients by the names `node-1` …, and return the names."""
        names = [f"{prefix}{i}" for i in range(1, count + 1)]
        for name in names:
            self.start_client(name, *options)
        return names

    def spawn(self, name: str, options: list[str], env: dict[str, str] | None = None) -> None:
        """Start `director` with these options in the background, its output in `NAME.log`."""
        self.commands[name] = options
        self.environments[name] = env or {}
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                [*self.bounds.get(name, ()), sys.executable, *self.programs.get(name, ["-m", "director"]), *options],
                cwd=ROOT,
                env={**self.environment, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def pid(self, name: str) -> int:
        """The process id of the server or a client."""
        return self.processes[name].pid

    def kill(self, name: str, sig: int = signal.SIGKILL) -> None:
        """Send a signal to this one process; after SIGKILL return when it is gone."""
        self.processes[name].send_signal(sig)
        if sig == signal.SIGKILL:
            self.processes[name].wait(PATIENCE)

    def stop(self, name: str, timeout: float = PATIENCE) -> int:
        """End it with SIGTERM and return its exit code."""
        self.processes[name].terminate()
        return self.processes[name].wait(timeout)

    def restart(self, name: str) -> None:
        """Start it again, after `kill` or `stop`, as it was started before."""
        self.spawn(name, self.commands[name], self.environments[name])
        if name == "server":
            self.wait_server()

    def workers(self, kind: str = "planner") -> list[int]:
        """Process ids of the server's workers of this kind."""
        children = children_of(self.pid("server"))
        return [pid for pid, line in children.items() if f"director.workers.{kind}" in line]

    def log(self, name: str) -> str:
        """What the process has written so far."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def tails(self, size: int = 3000) -> str:
        """The ends of all logs, for a failed test's report."""
        return "\n".join(f"--- {name}\n{self.log(name)[-size:]}" for name in self.processes)

    # commands

    def director(self, *args: str, timeout: float = PATIENCE, **popen: Any) -> subprocess.CompletedProcess[str]:
        """Run a user's command against this server; the caller checks the exit code."""
        popen["env"] = {**self.environment, **(popen.get("env") or {})}
        popen.setdefault("cwd", self.folder)
        return subprocess.run(
            self.command(*args), capture_output=True, text=True, timeout=timeout, check=False, **popen
        )

    def begin(self, *args: str, **popen: Any) -> subprocess.Popen[str]:
        """Start a user's command and return at once; its output is piped."""
        popen = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen}
        return subprocess.Popen(self.command(*args), text=True, env=self.environment, cwd=self.folder, **popen)

    def command(self, *args: str) -> list[str]:
        """The words of a user's command."""
        return [sys.executable, "-m", "director", "--socket-path", str(self.socket_path), *args]

    def run_json(self, *args: str, exit_code: int = 0, timeout: float = PATIENCE, **popen: Any) -> Any:
        """The JSON answer of a command that must end with `exit_code`."""
        done = self.director("--output", "json", *args, timeout=timeout, **popen)
        assert done.returncode == exit_code, f"exit {done.returncode}: {done.stderr or done.stdout[-2000:]}"
        return json.loads(done.stdout)

    def submit(self, *args: str) -> str:
        """Submit without waiting and return the job's id."""
        done = self.director(*args)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def nodes(self) -> dict[str, dict[str, Any]]:
        """All nodes by name; a key that waits only where no node has the name."""
        rows = self.run_json("--list-nodes", "--limit", "0")
        return {row["id"]: row for row in sorted(rows, key=lambda row: row["state"] != "pending")}

    def job(self, job_id: str = "last") -> dict[str, Any]:
        """Everything known of a job."""
        info: dict[str, Any] = self.run_json("--job-info", job_id)
        return info

    def wait_job(self, job_id: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Return the job when it is final, in whatever state."""
        listed = ("--list-jobs", job_id)
        wait_until(lambda: self.run_json(*listed)[0]["final"], f"{job_id} is final", timeout, every=0.2)
        return self.job(job_id)

    def wait_online(self, names: Iterable[str], timeout: float = PATIENCE) -> None:
        """Return when all of these nodes are online."""
        self.wait_state(names, "online", timeout)

    def wait_state(self, names: Iterable[str], state: str, timeout: float = PATIENCE) -> None:
        """Return when all of these nodes are in this state."""
        wanted = set(names)

        def missing() -> set[str]:
            return wanted - {name for name, node in self.nodes().items() if node["state"] == state}

        wait_until(lambda: not missing(), f"{len(wanted)} nodes are {state}", timeout, every=0.2)

    # the end

    def close(self) -> None:
        """End every process, those that tasks left behind included, and remove the folder."""
        cgroups = self.cgroups()
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for process in self.processes.values():
            process.wait()
        while left := marked_processes(self.folder):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        for cgroup in cgroups:
            remove_cgroup(cgroup)
        leaks = files_with(SECRET, self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not leaks, f"a secret is in {leaks}"

    def cgroups(self) -> set[Path]:
        """Those of its clients: of those that run, whose state folder may be unmounted, and of those that ran."""
        found = {cgroup_of(note) for note in self.folder.glob("*/client/cgroup")}
        for process in self.processes.values():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()
                path = next((line[4:] for line in lines if line.startswith("0::/")), "")
                if "director-client-" in path and path.endswith("/tasks"):
                    found.update(Path(top, path).parent for top in CGROUPS if Path(top, path).is_dir())
        return {folder for folder in found if folder is not None}


def tasks_of(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every task of a job, with the step's index as `step`."""
    for step in job["steps"]:
        for task in step["tasks"]:
            yield {"step": step["index"], **task}

"""The fleet under fire: the harness's fleet, its clients behind the proxy, one of them on a small disk."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from clocks import Clock
from harness import Fleet, children_of, free_ports, is_alive, remove_cgroup

from .crowding import SmallCgroup
from .damage import Damage
from .schedule import FEW_PIDS, SMALL_DISK

LOST_AFTER = 12.0
DISK = "24m"
SERVER_DISK = "192m"


class ChaosFleet(Fleet):
    """Server, clients and proxy; `marks` is the folder to which tasks append what they do.

    Args:
        count: of clients.
        keep: where logs are copied to at the end, None for nowhere.
    """

    def __init__(self, count: int, keep: Path | None = None) -> None:
        super().__init__(beat="1s")
        self.names = [f"node-{i}" for i in range(1, count + 1)]
        self.marks = self.folder / "marks"
        self.marks.mkdir()
        self.source = self.folder / "source.txt"
        self.source.write_text("a file to copy\n" * 200)
        self.keep = keep
        self.left_out: set[str] = set()
        self.clocks = {name: Clock(self.folder, name) for name in ("server", *self.names)}
        self.crashes: list[str] = []
        self.damage = Damage()
        self._mounted: list[Path] = []
        self.small = SmallCgroup()
        if self.small.folder is None:
            self.left_out.add("no-pids-client")
        with open(self.folder / "proxy.log", "ab") as log:
            self._proxy = subprocess.Popen(
                [sys.executable, "-m", "chaos.proxy"], cwd=Path(__file__).parent.parent, stderr=log,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            )  # fmt: skip

    def start(self, small_server_disk: bool = False) -> None:
        """Start everything; returns when all clients are online."""
        self.mount(self.folder / SMALL_DISK, DISK, "full-disk-client")
        if small_server_disk:
            self.mount(self.folder / "server", SERVER_DISK, "full-disk-server")
        else:
            self.left_out.add("full-disk-server")
        self.start_server("--lost-after", f"{LOST_AFTER:g}s", "--workers", "2")
        for name in self.names:
            port, enroll = free_ports(2)
            self.order(open=name, listen=port, to=self.port)
            self.order(open=name, listen=enroll, to=self.enroll_port)
            self.start_client(name, "--server-address", f"127.0.0.1:{port}", "--enroll-port", str(enroll))
        self.wait_online(self.names, 120)

    def spawn(self, name: str, options: list[str], env: dict[str, str] | None = None) -> None:
        """With a clock of its own."""
        self._note_end(name)
        super().spawn(name, options, {**(env or {}), **self.clocks[name].environment(self)})
        if name == FEW_PIDS:
            self.small.take(self.pid(name))

    def _note_end(self, name: str) -> None:
        """A process that no fault of ours has ended, but the kernel or the C library: an abort, a bad access."""
        process = self.processes.get(name)
        code = process.poll() if process is not None else None
        if code is not None and code < 0 and -code not in (signal.SIGKILL, signal.SIGTERM):
            self.crashes.append(f"{name} ended by {signal.Signals(-code).name}: {self.log(name)[-300:]}")

    def order(self, **fields: Any) -> None:
        """One order to the proxy."""
        assert self._proxy.stdin is not None and self._proxy.stdout is not None
        self._proxy.stdin.write(json.dumps(fields) + "\n")
        self._proxy.stdin.flush()
        assert self._proxy.stdout.readline() == "ok\n", "the proxy died"

    def network(self, names: list[str], **mode: Any) -> None:
        """From now on the network of these nodes is like this; without a mode it is well."""
        self.order(mode=mode, names=names)

    def mount(self, folder: Path, size: str, fault: str) -> None:
        """A small disk for a state folder; where that is not allowed the fault is left out."""
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(folder)]
        if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
            self.left_out.add(fault)
        else:
            self._mounted.append(folder)

    def fill(self, name: str) -> None:
        """Leave no byte free on the small disk of `name`."""
        with open(self.folder / name / "filler", "ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)

    def unfill(self, name: str) -> None:
        """Make room again."""
        (self.folder / name / "filler").unlink(missing_ok=True)

    def is_up(self, name: str) -> bool:
        """Whether the process runs (or is stopped)."""
        return self.processes[name].poll() is None

    def ensure_up(self, name: str) -> None:
        """Start it again unless it runs."""
        if self.is_up(name):
            return
        if name == "server":
            self.restart_server()
        else:
            self.restart(name)

    def restart_server(self) -> None:
        """Start the server again; the port of a killed one may be held a moment by its dying connections."""
        for _ in range(20):
            self.spawn("server", self.commands["server"])
            with contextlib.suppress(AssertionError):
                self.wait_server(60)
                return
            time.sleep(0.5)
        raise AssertionError(f"the server does not start:\n{self.log('server')[-2000:]}")

    def worker(self, kind: str) -> int | None:
        """A worker process of the server."""
        with contextlib.suppress(OSError, IndexError):
            return self.workers(kind)[0]
        return None

    def all_processes(self) -> dict[str, int]:
        """Names and pids of server, workers and clients."""
        found = {name: process.pid for name, process in self.processes.items() if process.poll() is None}
        for pid, line in children_of(found["server"]).items():
            if "director.workers." in line:
                kind = line.rpartition("director.workers.")[2].split()[0]
                found[f"{kind}-{sum(name.startswith(kind) for name in found)}"] = pid
        return found

    def wake_all(self) -> None:
        """SIGCONT to everything of ours."""
        for pid in [process.pid for process in self.processes.values() if process.poll() is None]:
            os.kill(pid, signal.SIGCONT)
            for child in children_of(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGCONT)

    def close(self) -> None:
        """End everything; keep the logs where that was asked for."""
        if not self.folder.exists():
            return
        if self.keep is not None:
            self._keep_logs(self.keep)
        self._proxy.kill()
        self._proxy.wait()
        self.wake_all()
        cgroups = self.cgroups()  # while the small disks can still be read
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
        for folder in self._mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)
        super().close()
        for cgroup in cgroups:
            remove_cgroup(cgroup)
        self.small.remove()

    def _keep_logs(self, keep: Path) -> None:
        keep.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob("*.log"):
            shutil.copy(path, keep)
        shutil.copytree(self.marks, keep / "marks", dirs_exist_ok=True)
        for path in self.folder.glob("server/**/ledger.sqlite*"):
            with contextlib.suppress(OSError):
                shutil.copy(path, keep)


def descriptors(pid: int) -> int:
    """Open files of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident(pid: int) -> float:
    """Memory of a process in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def alive_task(pid: int, job: str) -> bool:
    """Whether `pid` still is a process of a task of `job`."""
    if not is_alive(pid):
        return False
    with contextlib.suppress(OSError):
        return f"DIRECTOR_JOB={job}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False

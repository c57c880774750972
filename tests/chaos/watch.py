"""Looks at jobs while they run, as anybody may, and notes every change that the contract forbids."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

from harness import tasks_of

from director.errors import DirectorError, NotFoundError
from director.library.connection import Connection

from .fleet import ChaosFleet, alive_task
from .marks import Marks
from .workload import Workload

FINAL = frozenset(("success", "cached", "failed", "timeout", "cancelled", "expired", "lost", "skipped"))
ENDED = frozenset(("timeout", "cancelled"))  # the processes are gone before the state is set
KEPT = ("state", "exit_code", "reason", "attempt", "started_at", "finished_at")
PAUSE = 0.25
Key = tuple[str, int, str]


class Watch:
    """Samples `job-info`; `violations` is what must not be."""

    def __init__(self, fleet: ChaosFleet, workload: Workload, seed: int) -> None:
        self.violations: list[str] = []
        self.samples = 0
        self.stepped_back = 0  # running shown as sent after a restart of the server
        self._fleet, self._workload = fleet, workload
        self._finals: dict[Key, tuple[Any, ...]] = {}
        self._open: dict[Key, tuple[str, int]] = {}
        self._jobs: dict[str, str] = {}
        self._dice = random.Random(f"watch-{seed}")
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)  # a run that fails ends without it

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """No more samples."""
        self._end.set()
        self._thread.join(120)

    def _run(self) -> None:
        while not self._end.wait(PAUSE):
            jobs = [job.id for job in list(self._workload.jobs.values()) if job.acknowledged]
            if jobs:
                young = self._dice.random() < 0.7
                self.look(self._dice.choice(jobs[-12:] if young else jobs))

    def look(self, job: str) -> dict[str, Any] | None:
        """One sample; None when the server does not answer now."""
        try:
            with Connection(self._workload.settings) as link:
                info: dict[str, Any] = link.ask({"do": "job-info", "id": job})
        except NotFoundError:
            if self._fleet.damage.may_be_gone(job):
                return None
            self.violations.append(f"{job}: acknowledged, and not found")
            return None
        except DirectorError:
            return None
        self.samples += 1
        self.compare(info)
        return info

    def compare(self, info: dict[str, Any]) -> None:
        """Hold a sample against the ones before."""
        job = info["id"]
        before = self._jobs.get(job)
        loses = info["state"] == "failed" and self._fleet.damage.may_be_lost(job)
        if before is not None and info["state"] != before and not loses:
            self.violations.append(f"{job}: the final job state {before} became {info['state']}")
        if info["final"]:
            self._jobs[job] = info["state"]
        fresh = [task for task in tasks_of(info) if self._compare_task(job, task)]
        if fresh:
            self._look_for_processes(job, fresh)

    def _compare_task(self, job: str, task: dict[str, Any]) -> bool:
        """Whether the task is newly final."""
        key = (job, task["step"], task["node"])
        shown = tuple(task[name] for name in KEPT)
        known = self._finals.get(key)
        if known is not None and task["state"] == "lost" and self._fleet.damage.may_be_lost(job):
            self._finals[key] = shown
            return False
        if known is not None:
            if known != shown:
                self.violations.append(f"{key}: the final task {known} became {shown}")
            return False
        state, attempt = task["state"], task["attempt"] or 1
        if state in FINAL:
            self._finals[key] = shown
            self._open.pop(key, None)
            return True
        was, earlier = self._open.get(key, ("queued", 1))
        if state == "queued" and was == "running" and attempt <= earlier:
            self.violations.append(f"{key}: from running back to queued without a new attempt")
        self.stepped_back += state == "sent" and was == "running"
        self._open[key] = (state, attempt)
        return False

    def _look_for_processes(self, job: str, tasks: list[dict[str, Any]]) -> None:
        """Processes of tasks that timed out or were cancelled must be gone when the state is told."""
        ended = {(task["step"], task["node"]) for task in tasks if task["state"] in ENDED}
        if not ended:
            return
        marks = Marks.read(self._fleet.marks, only={node for _, node in ended})
        for step, node in ended:
            for pid in marks.pids(job, step, node):
                if alive_task(pid, job):
                    time.sleep(0.2)
                    if alive_task(pid, job):
                        self.violations.append(f"{(job, step, node)}: ended, and its process {pid} lives")

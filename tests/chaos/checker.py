"""Judges a run from outside: what the server shows against what the tasks wrote and what still lives."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

from harness import MARK, is_alive, tasks_of

from .fleet import ChaosFleet, descriptors, resident
from .marks import Marks
from .watch import FINAL
from .workload import Job

NO_PIDS = ("Cannot fork", "Resource temporarily unavailable")  # of a shell, of the client and other programs
NEVER_RAN = frozenset(("expired", "skipped", "cached"))
MORE_DESCRIPTORS = 12
MORE_MEMORY = {"server": 60.0, "ledger": 60.0, "planner": 40.0, "files": 40.0, "node": 25.0}  # MiB over the baseline
Usage = dict[str, tuple[int, float]]


def job_verdict(counts: Counter[str], ignored: int) -> str:
    """The contract's rule: the first that applies."""
    if counts["failed"] + counts["timeout"] + counts["lost"] - ignored > 0:
        return "failed"
    if counts["cancelled"]:
        return "cancelled"
    return "incomplete" if counts["expired"] else "success"


def check_job(job: Job, info: dict[str, Any], marks: Marks) -> list[str]:
    """What is wrong with one job, in one line each."""
    wrong: list[str] = []
    tasks = list(tasks_of(info))
    seen = Counter((task["step"], task["node"]) for task in tasks)
    wrong += [f"{job.id}: {key} is shown {count} times" for key, count in seen.items() if count > 1]
    steps = [step for step in job.steps if step.ends]
    for task in tasks:
        for text in check_task(job, steps[task["step"]], task, marks):
            wrong.append(f"{job.kind} {job.id} step {task['step']} on {task['node']}: {text}; {_brief(task)}")
    counts = Counter(task["state"] for task in tasks)
    ignored = sum((task["reason"] or "").startswith("ignored") for task in tasks)
    if info["final"] and info["state"] != job_verdict(counts, ignored):
        wrong.append(f"{job.id}: the job is {info['state']}, its tasks say {job_verdict(counts, ignored)}")
    if any(info["tasks"][state] != counts[state] for state in FINAL):
        wrong.append(f"{job.id}: it counts {info['tasks']}, there are {dict(counts)}")
    return wrong


def _brief(task: dict[str, Any]) -> dict[str, Any]:
    return {name: task[name] for name in ("state", "reason", "attempt", "exit_code", "late", "stderr")}


def check_task(job: Job, step: Any, task: dict[str, Any], marks: Marks) -> list[str]:
    """What is wrong with one task."""
    state, attempt = task["state"], task["attempt"] or 1
    key = (job.id, task["step"], task["node"])
    starts, ends = len(marks.starts.get(key, ())), len(marks.ends.get(key, ()))
    wrong = []
    if state not in FINAL:
        return ["it is not final"]
    if state not in ("success", "cached") and not task["reason"]:
        wrong.append("no reason is given")
    if not step.marked:
        return wrong
    most = step.retry if state == "lost" else attempt  # a node that fell silent may have tried again meanwhile
    if starts > most:
        wrong.append(f"it was started {starts} times in {most} attempts")
    # an attempt for which the node had no process leaves no mark; more starts than attempts were looked for above
    unmarked = attempt > starts and step.retry == 1
    if state == "success" and (starts < 1 or ends < 1 or unmarked):
        wrong.append(f"success after {attempt} attempts, with {starts} starts and {ends} ends")
    if state in NEVER_RAN and starts:
        wrong.append(f"it ran ({starts} starts) and is shown as never run")
    if state == "cancelled" and starts and task["started_at"] is None:
        wrong.append("it ran and is shown as cancelled before it began")
    if state == "failed" and not _may_fail(step, task, ends):
        wrong.append("it failed, and nothing in it can fail")
    if state == "timeout" and step.ends != "timeout":
        wrong.append("it timed out, and nothing in it takes so long")
    if state == "success" and step.ends in ("failed", "timeout"):
        wrong.append(f"it succeeded where it must end {step.ends}")
    return wrong


def _may_fail(step: Any, task: dict[str, Any], ends: int) -> bool:
    return (
        step.ends == "failed"
        or "client stopped" in task["reason"]
        or (not ends and any(text in task["reason"] for text in ("room", *NO_PIDS)))
    )


def leftovers(fleet: ChaosFleet) -> list[str]:
    """Processes of tasks that live although every job is final."""
    mark = f"{MARK}={fleet.folder}".encode()
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            variables = Path("/proc", entry, "environ").read_bytes().split(b"\0")
            job = next((v[13:].decode() for v in variables if v.startswith(b"DIRECTOR_JOB=")), "")
            if job and mark in variables and is_alive(int(entry)):
                line = Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append(f"job {job} is final, and its process {entry} lives: {line[:80]}")
    return found


def usage(fleet: ChaosFleet) -> Usage:
    """Descriptors and memory of every process of ours."""
    return {name: (descriptors(pid), resident(pid)) for name, pid in fleet.all_processes().items()}


def check_usage(before: Usage, after: Usage) -> list[str]:
    """What has grown beyond the tolerance."""
    wrong = []
    for name, (files, memory) in after.items():
        base = before.get(name) or max(before[other] for other in before if other[:4] == name[:4])
        if files > base[0] + MORE_DESCRIPTORS:
            wrong.append(f"{name}: {files} descriptors are open, {base[0]} at the start")
        if memory > base[1] + MORE_MEMORY[name.partition("-")[0]]:
            wrong.append(f"{name}: {memory:.0f} MiB, {base[1]:.0f} MiB at the start")
    return wrong

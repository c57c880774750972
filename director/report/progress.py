"""What a call that waits shows on a terminal: how far the jobs are, how fast, and who is failed or slow."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from director import Any
from director.node_sets import fold
from director.report.text import ago, cell, seconds

OPEN = ("queued", "sent", "running")
BAD = ("failed", "timeout", "lost")
WINDOW = 20.0  # seconds over which the rate is measured
SLOWEST = 3  # nodes that are named
Progress = Mapping[str, Any]


class Rate:
    """Tasks that end each second, measured over the last `WINDOW` seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def take(self, now: float, done: int) -> float:
        """The rate when so many tasks have ended; `now` is monotonic. 0.0 when it is not known yet."""
        while self._seen and (now - self._seen[0][0] > WINDOW or done < self._seen[0][1]):
            self._seen.popleft()
        self._seen.append((now, done))
        first, before = self._seen[0]
        return (done - before) / (now - first) if now - first >= 1.0 else 0.0


def done_and_total(progress: Progress) -> tuple[int, int]:
    """The tasks of all open jobs that have ended, and all of them."""
    counts = [job.get("tasks") or {} for job in progress.get("jobs") or []]
    total = sum(count.get("total", 0) for count in counts)
    return total - sum(count.get(state, 0) for count in counts for state in OPEN), total


def progress_lines(progress: Progress, rate: float, now: float) -> tuple[str, list[str]]:
    """The heading, and the lines below the bar; `now` is epoch seconds."""
    jobs, waiting = progress.get("jobs") or [], progress.get("waiting") or []
    done, total = done_and_total(progress)
    steps = sorted({row["step"] + 1 for row in waiting if isinstance(row.get("step"), int)})
    head = f"job {cell(jobs[0]['id'])}" if len(jobs) == 1 else f"{len(jobs)} jobs"
    if len(jobs) == 1 and steps and int(jobs[0].get("steps") or 1) > 1:
        spread = f"{steps[0]}" if steps[0] == steps[-1] else f"{steps[0]} to {steps[-1]}"
        head += f", step {spread} of {jobs[0]['steps']}"
    nodes = {name: sum((job.get("nodes") or {}).get(name, 0) for job in jobs) for name in ("total", "done", "failed")}
    parts = [f"{done} of {total} tasks"]
    if nodes["total"]:
        left = nodes["total"] - nodes["done"]
        parts.insert(0, f"{nodes['done']} of {nodes['total']} nodes done, {nodes['failed']} failed, {left} waiting")
    if rate > 0:
        parts += [f"{rate:.0f} a second" if rate >= 10 else f"{rate:.1f} a second", f"{_left(done, total, rate)} left"]
    lines = [", ".join(parts)]
    names = [name for job in jobs for name in job.get("failed") or ()]
    if names:
        lines.append(f"failed: {cell(fold(names))}{' and others' if nodes['failed'] > len(names) else ''}")
    if slow := _slowest(waiting, now):
        lines.append(f"slowest: {slow}")
    return head, lines


def _left(done: int, total: int, rate: float) -> str:
    """The time the rest takes, without fractions below a minute."""
    return seconds(max(1.0, round((total - done) / rate))).replace(".0s", "s").replace(".00s", "s")


def _slowest(waiting: list[Any], now: float) -> str:
    """The nodes that are at one step for the longest."""
    rows = sorted((row for row in waiting if row.get("since")), key=lambda row: str(row["since"]))[:SLOWEST]
    return ", ".join(
        f"{cell(row['node'])} {cell(row['why'])} {ago(row['since'], now).removesuffix(' ago')}" for row in rows
    )

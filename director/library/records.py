"""Jobs, tasks, nodes and events as frozen records; `data` has every field of the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WELL = ("success", "cached")
JOB_OPEN = ("queued", "running")


@dataclass(frozen=True, slots=True)
class Task:
    """One step on one node.

    Attributes:
        node, step, verb, text: the node, the index of the step, its verb, and its text.
        state: as docs/operations.md lists them.
        exit_code: of the command; None without one.
        stdout, stderr: the outputs, with U+FFFD for bytes that are not UTF-8.
        reason: why it is not well, "" when it is.
        started_at, finished_at: ISO 8601 in UTC, None before.
        execution_time: seconds on the node, None before the end.
        data: all fields of the JSON.
    """

    node: str
    step: int
    verb: str
    text: str
    state: str
    exit_code: int | None
    stdout: str
    stderr: str
    reason: str
    started_at: str | None
    finished_at: str | None
    execution_time: float | None
    data: Mapping[str, Any] = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether it succeeded, or had nothing to do."""
        return self.state in WELL


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as a list has it.

    Attributes:
        id, name, state: the job; state is queued, running, success, failed, cancelled or incomplete.
        counts: its tasks by state, and `total`.
        created_at, finished_at: ISO 8601 in UTC; `finished_at` is None before the end.
        submitted_by: the user.
        data: all fields of the JSON.
    """

    id: str
    name: str
    state: str
    counts: Mapping[str, int]
    created_at: str
    finished_at: str | None
    submitted_by: str
    data: Mapping[str, Any] = field(repr=False)

    @property
    def final(self) -> bool:
        """Whether the state never changes again."""
        return self.state not in JOB_OPEN

    @property
    def ok(self) -> bool:
        """Whether every task of it went well, or was allowed to fail."""
        return self.state == "success"


@dataclass(frozen=True, slots=True)
class Result(JobRow):
    """A job with its tasks, by step and node."""

    tasks: tuple[Task, ...] = ()

    @property
    def failed(self) -> tuple[Task, ...]:
        """The tasks that did not go well."""
        return tuple(task for task in self.tasks if not task.ok)


@dataclass(frozen=True, slots=True)
class Node:
    """A node.

    Attributes:
        id: its name.
        state: online, offline, pending or revoked.
        address, version: as it last reported; None when it never did.
        labels: those the server has for it.
        last_seen: ISO 8601 in UTC, None for never.
        reason: what an operator should know, "" for nothing.
        facts: of `node` only; {} in lists.
        data: all fields of the JSON.
    """

    id: str
    state: str
    address: str | None
    version: str | None
    labels: Mapping[str, str]
    last_seen: str | None
    reason: str
    facts: Mapping[str, Any] = field(repr=False)
    data: Mapping[str, Any] = field(repr=False)

    @property
    def online(self) -> bool:
        """Whether it is connected."""
        return self.state == "online"


@dataclass(frozen=True, slots=True)
class Event:
    """The progress of a job.

    Attributes:
        job, state: the job's id and its state now.
        counts: its tasks by state, and `total`.
        waiting: at most 100 nodes that it waits for: `{"node", "step", "why", "since", "until"}`.
    """

    job: str
    state: str
    counts: Mapping[str, int]
    waiting: tuple[Mapping[str, Any], ...] = ()

    @property
    def final(self) -> bool:
        """Whether this is the last event."""
        return self.state not in JOB_OPEN


@dataclass(frozen=True, slots=True)
class Output:
    """A part of the output of a task as it comes, or its end.

    Attributes:
        node, step, attempt: the node, the index of the step, and which attempt it is.
        stream: stdout or stderr; "" at the end.
        text: what came, not cut within a character.
        skipped: bytes that were left out before it, as they came faster than they were read.
        state: of the task, "" before its end.
    """

    node: str
    step: int
    attempt: int
    stream: str = ""
    text: str = ""
    skipped: int = 0
    state: str = ""


def output(row: Mapping[str, Any]) -> Output:
    """A row of the output of a job."""
    names = ("node", "step", "attempt", "stream", "text", "skipped", "state")
    return Output(**{name: row[name] for name in names if name in row})


def job_row(row: Mapping[str, Any]) -> JobRow:
    """A row of a list of jobs."""
    return JobRow(**_fields(row))


def result(info: Mapping[str, Any]) -> Result:
    """Everything known of a job."""
    tasks = (_task(step, task) for step in info["steps"] for task in step["tasks"])
    return Result(**_fields(info), tasks=tuple(tasks))


def node(row: Mapping[str, Any]) -> Node:
    """A node of a list, or with its facts."""
    return Node(
        row["id"], row["state"], row["address"], row["version"], row["labels"], row["last_seen"], row["reason"] or "",
        row.get("facts", {}), row,
    )  # fmt: skip


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("id", "name", "state", "created_at", "finished_at", "submitted_by")
    return {**{name: row[name] for name in names}, "counts": row["tasks"], "data": row}


def _task(step: Mapping[str, Any], task: Mapping[str, Any]) -> Task:
    return Task(
        task["node"], step["index"], step["verb"], step["text"], task["state"], task["exit_code"],
        task["stdout"] or "", task["stderr"] or "", task["reason"] or "", task["started_at"], task["finished_at"],
        task["execution_time"], task,
    )  # fmt: skip

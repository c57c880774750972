"""Jobs as `--wait` and `--job-info` show them."""

from __future__ import annotations

from director.report.columns import COUNTS, FINAL_COUNTS, TASK_COLUMNS
from director.report.groups import group_lines, grouped, quiet, state_text
from director.report.tables import aligned
from director.report.text import cell, moment, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    Job = Mapping[str, Any]

_TASK_TITLES = ("NODE", "STATE", "TIME", "ATTEMPT", "REASON")


def render_jobs(jobs: Sequence[Job], format: str, header: bool = True) -> Iterator[str]:
    """The answer of `--wait` and `--wait-job`; a table has identical results grouped.

    Args:
        jobs: as `job-info` answers them, in the order of the call.
        format: as for `render_list`; JSON and YAML of exactly one job are an object, else a list.
    """
    if format == "table":
        return _results_of_all(jobs)
    from director.report.formats import object_as, rows_as

    if format in ("jsonl", "csv"):
        rows = (row for job in jobs for row in task_rows(job, verb=format == "csv"))
        return rows_as(format, rows, TASK_COLUMNS, header)
    return object_as(format, jobs[0] if len(jobs) == 1 else list(jobs))


def render_job(job: Job, format: str, header: bool = True) -> Iterator[str]:
    """The answer of `--job-info`."""
    return _info(job, header) if format == "table" else render_jobs([job], format, header)


def _results_of_all(jobs: Sequence[Job]) -> Iterator[str]:
    for number, job in enumerate(jobs):
        if len(jobs) > 1:
            gap = "\n" if number else ""
            yield f"{gap}=== job {job['id']} {cell(job.get('name'))}\n"
        yield from _results(job)


def _results(job: Job) -> Iterator[str]:
    """The groups of each step, then a line about the job; a successful step without output is one line."""
    steps = job.get("steps") or []
    for step in steps:
        if len(steps) > 1:
            yield from _step_results(step)
        else:
            yield from _groups(step)
    yield f"job {job['id']} {summary(job)}\n"


def _step_results(step: Mapping[str, Any]) -> Iterator[str]:
    head = step_head(step)
    if quiet(step["tasks"]):
        yield f"{head}: {tally(_count(step)) or 'no task'}\n"
        return
    yield f"{head}\n"
    yield from _groups(step)


def _groups(step: Mapping[str, Any]) -> Iterator[str]:
    for group in grouped(step["tasks"]):
        yield from group_lines(group)


def step_head(step: Mapping[str, Any]) -> str:
    """`== step 2: RUN uptime`, with the name of the step when it has one."""
    name = f" ({cell(step['name'])})" if step.get("name") else ""
    return f"== step {step['index']}: {step_text(step)}{name}"


def step_text(step: Mapping[str, Any]) -> str:
    """The first line of the step as written, with the verb in front of it once."""
    verb, text = str(step.get("verb") or ""), str(step.get("text") or "")
    first, more, _ = text.partition("\n")
    if not first.upper().startswith(verb):
        first = f"{verb} {first}"
    return cell(first.rstrip() + (" ..." if more else ""))


def _count(step: Mapping[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for task in step["tasks"]:
        counts[task["state"]] = counts.get(task["state"], 0) + 1
    return counts


def tally(counts: Mapping[str, int]) -> str:
    """`38 success, 2 failed`; states without a task are left out."""
    return ", ".join(f"{counts[name]} {name}" for name in COUNTS[1:] if counts.get(name))


def summary(job: Job) -> str:
    """`success: 40/40 done, 38 success, 2 cached, 1.2s`."""
    counts = job.get("tasks") or {}
    done = sum(counts.get(name, 0) for name in FINAL_COUNTS)
    parts = [f"{done}/{counts.get('total', 0)} done", tally(counts), seconds(job.get("duration"))]
    return f"{job['state']}: " + ", ".join(part for part in parts if part)


def _info(job: Job, header: bool) -> Iterator[str]:
    """The fields of the job, then each step with a row for each node, and the outputs."""
    yield from aligned(_fields(job))
    for step in job.get("steps") or []:
        yield f"\n{step_head(step)}\n"
        rows = [list(_TASK_TITLES)] if header else []
        yield from aligned(rows + [_task_row(task) for task in step["tasks"]])
        for group in grouped(task for task in step["tasks"] if not quiet((task,))):
            if group[0].get("stdout") or group[0].get("stderr") or group[0].get("late"):
                yield from group_lines(group)


def _fields(job: Job) -> list[list[str]]:
    rows = [
        ("id", job["id"]),
        ("name", job.get("name")),
        ("kind", job.get("kind")),
        ("state", summary(job)),
        ("steps", job.get("step_count")),
        ("nodes", job.get("node_count")),
        ("created", moment(job.get("created_at"))),
        ("started", moment(job.get("started_at"))),
        ("finished", moment(job.get("finished_at"))),
        ("by", job.get("submitted_by")),
    ]
    return [[name, cell(value)] for name, value in rows]


def _task_row(task: Mapping[str, Any]) -> list[str]:
    values = (
        task["node"],
        state_text(task),
        seconds(task.get("execution_time")),
        task.get("attempt") or None,
        task.get("reason"),
    )
    return [cell(value) for value in values]


def task_rows(job: Job, verb: bool = False) -> Iterator[dict[str, Any]]:
    """A row for each task, with its `job` and `step`, and with its verb where `verb` is true."""
    for step in job.get("steps") or []:
        more = {"verb": step.get("verb")} if verb else {}
        for task in step["tasks"]:
            yield {"job": job["id"], "step": step["index"], **more, **task}

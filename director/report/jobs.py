"""Jobs as `--wait` and `--job-info` show them; tasks of a step with the same result are one group.

On a terminal both fold the nodes of a step; a pipe of `--job-info` gets a row for each node, as scripts read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from director import Any
from director.report.groups import group_lines, grouped, groups_on, quiet, state_of
from director.report.screen import PLAIN, Screen
from director.report.tables import COUNTS, aligned, done_of_total, shown
from director.report.text import ago, cell, seconds

Job = Mapping[str, Any]
Step = Mapping[str, Any]
Task = Mapping[str, Any]

FAILED = ("failed", "timeout", "lost", "expired")  # what --failed shows
_FIELDS = (  # of a job, and their names in `--job-info`
    *(("id", "id"), ("name", "name"), ("kind", "kind"), ("state", "state"), ("steps", "step_count")),
    *(("nodes", "node_count"), ("created", "created_at"), ("started", "started_at"), ("finished", "finished_at")),
    ("by", "submitted_by"),
)
_TASK_TITLES = ("NODE", "STATE", "TIME", "ATTEMPT", "REASON")
_TASK_FIELDS = (  # of CSV
    *("job", "step", "verb", "node", "state", "exit_code", "stdout", "stderr", "truncated", "reason"),
    *("started_at", "finished_at", "execution_time", "roundtrip_time", "attempt", "late", "number"),
)
_MOMENTS = ("created_at", "started_at", "finished_at")


def render_jobs(
    jobs: Sequence[Job], format: str, header: bool = True, screen: Screen = PLAIN, per_node: bool = False
) -> Iterator[str]:
    """The answer of `--wait` and `--wait-job`; a table has identical results grouped.

    Args:
        jobs: as `job-info` answers them, in the order of the call.
        format: as for `render_list`; JSON and YAML of exactly one job are an object, else a list.
        screen: what a table is shown on.
        per_node: a row for each node instead of groups.
    """
    if format == "table":
        return _results(jobs, header, screen, per_node)
    from director.report.formats import values_as

    return values_as(format, jobs, _task_rows(jobs, verb=format == "csv"), _TASK_FIELDS, header)


def render_job(
    job: Job, format: str, header: bool = True, screen: Screen = PLAIN, per_node: bool | None = None
) -> Iterator[str]:
    """The answer of `--job-info`; arguments as for `render_jobs`, but a pipe gets a row for each node by default."""
    if format != "table":
        return render_jobs([job], format, header)
    return _info(job, header, screen, not screen.width if per_node is None else per_node)


def narrowed(job: Job, failed: bool = False, step: int | None = None, nodes: frozenset[str] | None = None) -> Job:
    """The job with some of its tasks: those that failed, of one step by its number from 1, on these nodes."""
    steps = []
    for each in job.get("steps") or []:
        tasks = [
            task
            for task in each["tasks"]
            if (not failed or task["state"] in FAILED) and (nodes is None or task["node"] in nodes)
        ]
        if (step is None or each["index"] == step - 1) and (tasks or not (failed or nodes is not None)):
            steps.append({**each, "tasks": tasks})
    return {**job, "steps": steps}


def _task_rows(jobs: Sequence[Job], verb: bool) -> Iterator[dict[str, Any]]:
    """A row for each task, with its `job` and `step`, and with its verb where `verb` is true."""
    for job in jobs:
        for step in job.get("steps") or []:
            more = {"verb": step.get("verb")} if verb else {}
            for task in step["tasks"]:
                yield {"job": job["id"], "step": step["index"], **more, **task, "number": step["index"] + 1}


def _results(jobs: Sequence[Job], header: bool, screen: Screen, per_node: bool) -> Iterator[str]:
    """The groups of each step, then a line about the job; a step without output that went well is one line."""
    for number, job in enumerate(jobs):
        if len(jobs) > 1:
            gap = "\n" if number else ""
            yield f"{gap}=== job {job['id']} {cell(job.get('name'))}\n"
        steps = job.get("steps") or []
        several = int(job.get("step_count") or 0) > 1
        for step in steps:
            if per_node:
                yield from _rows(step, header, screen)
            elif screen.width:
                yield from _step_on(step, screen, several)
            else:
                yield from _step(step, several)
        yield job_line(job, screen)


def job_line(job: Job, screen: Screen = PLAIN) -> str:
    """`job ID success: 40/40 done, 38 success, 2 cached, 1.2s`."""
    return f"job {job['id']} {screen.paint(job['state'], job['state'])}{_summary(job)}\n"


def _step(step: Step, several: bool) -> Iterator[str]:
    is_quiet = several and quiet(step["tasks"])
    if several:
        yield step_head(step) + (f": {_tally(_count(step)) or 'no task'}\n" if is_quiet else "\n")
    if not is_quiet:
        for group in grouped(step["tasks"]):
            yield from group_lines(group)


def _step_on(step: Step, screen: Screen, several: bool) -> Iterator[str]:
    """A step on a terminal: counts in the heading; what was skipped is counted only, as the failure before says why."""
    loud = [task for task in step["tasks"] if task["state"] != "skipped"] if several else step["tasks"]
    if several:
        yield screen.paint(screen.clip(f"{step_head(step)}: {_tally(_count(step)) or 'no task'}"), "bold") + "\n"
    if not (several and quiet(loud)):
        yield from groups_on(grouped(loud), screen)


def _info(job: Job, header: bool, screen: Screen, per_node: bool) -> Iterator[str]:
    """The fields of the job, then each step with a row for each node, and the outputs; or with groups of nodes."""
    more = {**job, "state": f"{job['state']}{_summary(job)}"}
    fields = [[name, shown(more, field)] for name, field in _FIELDS]
    if screen.now:
        for row, (_, field) in zip(fields, _FIELDS, strict=True):
            row[1] += f" ({ago(job[field], screen.now)})" if field in _MOMENTS and job.get(field) else ""
    yield from aligned(fields)
    for step in job.get("steps") or []:
        yield "\n"
        if per_node:
            yield from _rows(step, header, screen)
        else:
            yield from _step_on(step, screen, True)


def _rows(step: Step, header: bool, screen: Screen) -> Iterator[str]:
    """A row for each node, then the outputs."""
    yield f"{step_head(step)}\n"
    rows = [list(_TASK_TITLES)] if header else []
    yield from aligned(rows + [_task_row(task) for task in step["tasks"]], "", screen, _TASK_TITLES)
    for group in grouped(task for task in step["tasks"] if not quiet((task,))):
        if group[0].get("stdout") or group[0].get("stderr") or group[0].get("late"):
            yield from group_lines(group)


def _task_row(task: Task) -> list[str]:
    more = {**task, "state": state_of(task), "attempt": task.get("attempt") or None}
    return [shown(more, field) for field in ("node", "state", "execution_time", "attempt", "reason")]


def step_head(step: Step) -> str:
    """`== step 2: RUN uptime`, counted from 1, with the name of the step when it has one."""
    name = f" ({cell(step['name'])})" if step.get("name") else ""
    return f"== step {step['index'] + 1}: {_step_text(step)}{name}"


def _step_text(step: Step) -> str:
    """The first line of the step as written, with the verb in front of it once."""
    verb, text = str(step.get("verb") or ""), str(step.get("text") or "")
    first, more, _ = text.partition("\n")
    if not first.upper().startswith(verb):
        first = f"{verb} {first}"
    return cell(first.rstrip() + (" ..." if more else ""))


def _count(step: Step) -> dict[str, int]:
    counts: dict[str, int] = {}
    for task in step["tasks"]:
        counts[task["state"]] = counts.get(task["state"], 0) + 1
    return counts


def _tally(counts: Mapping[str, int]) -> str:
    """`38 success, 2 failed`; states without a task are left out."""
    return ", ".join(f"{counts[name]} {name}" for name in COUNTS[1:] if counts.get(name))


def _summary(job: Job) -> str:
    """`: 40/40 done, 38 success, 2 cached, 1.2s`, behind the state."""
    counts = job.get("tasks") or {}
    parts = [f"{done_of_total(counts)} done", _tally(counts), seconds(job.get("duration"))]
    return ": " + ", ".join(filter(None, parts))

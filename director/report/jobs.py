"""Jobs as `--wait` and `--job-info` show them; tasks of a step with the same result are one group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from director import Any
from director.node_sets import fold
from director.report.tables import COUNTS, aligned, done_of_total, shown
from director.report.text import cell, safe, seconds

Job = Mapping[str, Any]
Step = Mapping[str, Any]
Task = Mapping[str, Any]

WELL = ("success", "cached")
_FIELDS = (  # of a job, and their names in `--job-info`
    *(("id", "id"), ("name", "name"), ("kind", "kind"), ("state", "state"), ("steps", "step_count")),
    *(("nodes", "node_count"), ("created", "created_at"), ("started", "started_at"), ("finished", "finished_at")),
    ("by", "submitted_by"),
)
_TASK_TITLES = ("NODE", "STATE", "TIME", "ATTEMPT", "REASON")
_TASK_FIELDS = (  # of CSV
    *("job", "step", "verb", "node", "state", "exit_code", "stdout", "stderr", "truncated", "reason"),
    *("started_at", "finished_at", "execution_time", "roundtrip_time", "attempt", "late"),
)
_SAME = ("state", "exit_code", "stdout", "stderr", "reason", "truncated")
_OUT, _ERR = "  ", "! "


def render_jobs(jobs: Sequence[Job], format: str, header: bool = True) -> Iterator[str]:
    """The answer of `--wait` and `--wait-job`; a table has identical results grouped.

    Args:
        jobs: as `job-info` answers them, in the order of the call.
        format: as for `render_list`; JSON and YAML of exactly one job are an object, else a list.
    """
    if format == "table":
        return _results(jobs)
    from director.report.formats import values_as

    return values_as(format, jobs, _task_rows(jobs, verb=format == "csv"), _TASK_FIELDS, header)


def render_job(job: Job, format: str, header: bool = True) -> Iterator[str]:
    """The answer of `--job-info`."""
    return _info(job, header) if format == "table" else render_jobs([job], format, header)


def _task_rows(jobs: Sequence[Job], verb: bool) -> Iterator[dict[str, Any]]:
    """A row for each task, with its `job` and `step`, and with its verb where `verb` is true."""
    for job in jobs:
        for step in job.get("steps") or []:
            more = {"verb": step.get("verb")} if verb else {}
            for task in step["tasks"]:
                yield {"job": job["id"], "step": step["index"], **more, **task}


def _results(jobs: Sequence[Job]) -> Iterator[str]:
    """The groups of each step, then a line about the job; a step without output that went well is one line."""
    for number, job in enumerate(jobs):
        if len(jobs) > 1:
            gap = "\n" if number else ""
            yield f"{gap}=== job {job['id']} {cell(job.get('name'))}\n"
        steps = job.get("steps") or []
        for step in steps:
            is_quiet = len(steps) > 1 and quiet(step["tasks"])
            if len(steps) > 1:
                yield step_head(step) + (f": {_tally(_count(step)) or 'no task'}\n" if is_quiet else "\n")
            if not is_quiet:
                for group in grouped(step["tasks"]):
                    yield from group_lines(group)
        yield f"job {job['id']} {_summary(job)}\n"


def _info(job: Job, header: bool) -> Iterator[str]:
    """The fields of the job, then each step with a row for each node, and the outputs."""
    more = {**job, "state": _summary(job)}
    yield from aligned([[name, shown(more, field)] for name, field in _FIELDS])
    for step in job.get("steps") or []:
        yield f"\n{step_head(step)}\n"
        rows = [list(_TASK_TITLES)] if header else []
        yield from aligned(rows + [_task_row(task) for task in step["tasks"]])
        for group in grouped(task for task in step["tasks"] if not quiet((task,))):
            if group[0].get("stdout") or group[0].get("stderr") or group[0].get("late"):
                yield from group_lines(group)


def _task_row(task: Task) -> list[str]:
    more = {**task, "state": _state(task), "attempt": task.get("attempt") or None}
    return [shown(more, field) for field in ("node", "state", "execution_time", "attempt", "reason")]


def step_head(step: Step) -> str:
    """`== step 2: RUN uptime`, with the name of the step when it has one."""
    name = f" ({cell(step['name'])})" if step.get("name") else ""
    return f"== step {step['index']}: {_step_text(step)}{name}"


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
    """`success: 40/40 done, 38 success, 2 cached, 1.2s`."""
    counts = job.get("tasks") or {}
    parts = [f"{done_of_total(counts)} done", _tally(counts), seconds(job.get("duration"))]
    return f"{job['state']}: " + ", ".join(filter(None, parts))


def grouped(tasks: Iterable[Task]) -> list[list[Task]]:
    """The tasks in groups with the same state, exit code, outputs and reason, the largest group first."""
    groups: dict[tuple[Any, ...], list[Task]] = {}
    for task in tasks:
        groups.setdefault((*map(task.get, _SAME), _late(task)), []).append(task)
    return sorted(groups.values(), key=lambda group: -len(group))


def quiet(tasks: Iterable[Task]) -> bool:
    """Whether all of the tasks succeeded without output."""
    noise = ("stdout", "stderr", "late")
    return all(task["state"] in WELL and not any(map(task.get, noise)) for task in tasks)


def group_lines(group: Sequence[Task]) -> Iterator[str]:
    """A heading with the folded names and the state, then the output.

    Each line of output begins with two blanks (stdout) or `! ` (stderr), so that none looks like a heading.
    """
    task = group[0]
    reason = str(task.get("reason") or "")
    state = str(task["state"]) if "exit code" in reason else _state(task)
    size = f" [{len(group)} nodes]" if len(group) > 1 else ""
    because = f": {cell(reason)}" if reason else ""
    yield f"{_folded(tuple(str(task['node']) for task in group))}: {state}{because}{size}\n"
    yield from _prefixed(task.get("stdout"), _OUT)
    yield from _prefixed(task.get("stderr"), _ERR)
    if task.get("truncated"):
        yield f"({task['truncated']} bytes of output left out)\n"
    if late := _late(task):
        yield f"(came late, changes nothing: {late})\n"


@lru_cache(16)
def _folded(names: tuple[str, ...]) -> str:
    """Kept for the next steps of the job, which mostly have the same groups."""
    return cell(fold(names))


def _state(task: Task) -> str:
    """`failed (exit code 3)`."""
    code = task.get("exit_code")
    return str(task["state"]) + (f" (exit code {code})" if code else "")


def _late(task: Task) -> str:
    late = task.get("late")
    return (_state(late) if isinstance(late, dict) and "state" in late else "yes") if late else ""


def _prefixed(text: str | None, prefix: str) -> Iterator[str]:
    if text:
        for line in safe(text.removesuffix("\n")).split("\n"):
            yield f"{prefix}{line}".rstrip(" ") + "\n"

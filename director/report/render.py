"""The doors of the reports: one function for each kind of answer, every format behind each of them.

All of them yield pieces of text that end in a newline or are continued by the next; all is for stdout.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from director.report.columns import Column

    Job = Mapping[str, Any]

FORMATS = ("table", "json", "jsonl", "yaml", "csv")


def render_list(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], format: str, header: bool = True
) -> Iterator[str]:
    """A listing; only the table holds all rows at once.

    Args:
        rows: as the server gave them; JSON, JSON lines and YAML show them unchanged.
        columns: JOB_COLUMNS or NODE_COLUMNS; they matter for table and csv.
        format: one of FORMATS.
        header: False leaves the headings of table and csv out.
    """
    if format == "table":
        from director.report.tables import table

        return table(list(rows), columns, header)
    return _rows_as(format, rows, columns, header)


def _rows_as(format: str, rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], header: bool) -> Iterator[str]:
    from director.report import formats

    if format == "csv":
        return formats.csv_rows(rows, columns, header)
    writers = {"json": formats.json_list, "jsonl": formats.json_lines, "yaml": formats.yaml_list}
    return writers[format](rows)


def _object_as(format: str, value: Any) -> Iterator[str]:
    from director.report import formats

    return formats.json_object(value) if format == "json" else formats.yaml_object(value)


def render_jobs(jobs: Sequence[Job], format: str, header: bool = True, as_list: bool | None = None) -> Iterator[str]:
    """The answer of `--wait` and `--wait-job`: results grouped in a table.

    Args:
        jobs: objects of `--job-info`, in the order asked for.
        as_list: whether JSON and YAML are a list; by default when there is not exactly one job.
    """
    if format == "table":
        return _results(jobs)
    if format in ("jsonl", "csv"):
        return _tasks_as(format, jobs, header)
    many = len(jobs) != 1 if as_list is None else as_list
    return _object_as(format, list(jobs) if many else jobs[0])


def _results(jobs: Sequence[Job]) -> Iterator[str]:
    from director.report.jobs import results
    from director.report.text import cell

    for number, job in enumerate(jobs):
        if len(jobs) > 1:
            gap = "\n" if number else ""
            yield f"{gap}=== job {job['id']} {cell(job.get('name'))}\n"
        yield from results(job)


def _tasks_as(format: str, jobs: Sequence[Job], header: bool) -> Iterator[str]:
    from director.report.columns import TASK_COLUMNS
    from director.report.jobs import task_rows

    rows = (row for job in jobs for row in task_rows(job, verb=format == "csv"))
    return _rows_as(format, rows, TASK_COLUMNS, header)


def render_job(job: Job, format: str, header: bool = True) -> Iterator[str]:
    """The answer of `--job-info`: everything known of one job."""
    if format == "table":
        from director.report.jobs import info

        return info(job, header)
    return render_jobs([job], format, header, as_list=False)


def render_node(node: Mapping[str, Any], format: str, header: bool = True) -> Iterator[str]:
    """The answer of `--node-info`."""
    if format == "table":
        from director.report.nodes import info

        return info(node)
    if format in ("json", "yaml"):
        return _object_as(format, node)
    from director.report.columns import NODE_COLUMNS, Column

    return _rows_as(format, [node], (*NODE_COLUMNS, Column("", "facts"), Column("", "args")), header)


def render_plan(plan: Mapping[str, Any], format: str, header: bool = True) -> Iterator[str]:
    """The answer of `--plan`; the table leaves the warnings to stderr."""
    if format in ("json", "yaml"):
        return _object_as(format, plan)
    from director.report import plans
    from director.report.columns import PLAN_COLUMNS

    return plans.info(plan) if format == "table" else _rows_as(format, plans.rows(plan), PLAN_COLUMNS, header)


def render_ids(ids: Sequence[str], format: str, header: bool = True) -> Iterator[str]:
    """The answer of a submission without `--wait`: in a table each id alone on a line, without a heading."""
    if format == "table":
        return (f"{job}\n" for job in ids)
    if format in ("json", "yaml"):
        shown = [{"id": job} for job in ids]
        return _object_as(format, shown[0] if len(shown) == 1 else shown)
    from director.report.columns import JOB_COLUMNS

    return _rows_as(format, ({"id": job} for job in ids), JOB_COLUMNS[:1], header)

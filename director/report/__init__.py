"""What the server answers, as text for people and programs: table, JSON, JSON lines, YAML, CSV.

Names are loaded when they are first used, and each format's module when the format is asked for: a user's
command must start quickly.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from director.report.columns import JOB_COLUMNS, NODE_COLUMNS
    from director.report.exit_code import verdict
    from director.report.render import (
        FORMATS,
        render_ids,
        render_job,
        render_jobs,
        render_list,
        render_node,
        render_plan,
    )
    from director.report.waiting import waiting_lines

__all__ = [
    "FORMATS",
    "JOB_COLUMNS",
    "NODE_COLUMNS",
    "render_ids",
    "render_job",
    "render_jobs",
    "render_list",
    "render_node",
    "render_plan",
    "verdict",
    "waiting_lines",
]

_HOMES = {
    "JOB_COLUMNS": "columns",
    "NODE_COLUMNS": "columns",
    "verdict": "exit_code",
    "waiting_lines": "waiting",
}


def __getattr__(name: str) -> "Any":
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'render')}"), name)

"""--cancel-job, --purge-jobs and --purge-nodes; the server answers when the order is on disk."""

from __future__ import annotations

from director.cli.connection import Connection
from director.cli.listing import JOB_STATES, filters
from director.cli.output import answer
from director.errors import EXIT_OK
from director.report.columns import Column
from director.report.tables import render_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from director.config.settings import Settings


def cancel(settings: Settings) -> int:
    """Stop jobs; a job that is final already is no error."""
    with Connection(settings) as connection:
        jobs = connection.ask({"do": "cancel", "ids": list(settings.words)})["jobs"]
    columns = (Column("ID", "id"), Column("CANCEL", "was_final", _what))
    answer(render_list(jobs, columns, settings.output, not settings.no_header))
    return EXIT_OK


def _what(row: Mapping[str, Any]) -> str:
    return "was final already" if row.get("was_final") else "ordered"


def purge_jobs(settings: Settings) -> int:
    """Forget final jobs: those with the ids, or all that match --node, --state and --since."""
    request = {"do": "purge-jobs", "ids": list(settings.words), **filters(settings, JOB_STATES)}
    return _purge(settings, request, "jobs")


def purge_nodes(settings: Settings) -> int:
    """Forget offline nodes."""
    return _purge(settings, {"do": "purge-nodes", "node": settings.node}, "nodes")


def _purge(settings: Settings, request: Mapping[str, Any], what: str) -> int:
    with Connection(settings) as connection:
        count = connection.ask(request)["count"]
    if settings.output == "table":
        answer((f"forgot {count} {what[:-1] if count == 1 else what}\n",))
    else:
        rows = [{"count": count}]
        answer(render_list(rows, (Column("COUNT", "count"),), settings.output, not settings.no_header))
    return EXIT_OK

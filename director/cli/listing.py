"""--list-jobs and --list-nodes."""

from __future__ import annotations

import time

from director.cli.connection import Connection
from director.cli.output import answer
from director.config.values import nearest
from director.errors import EXIT_OK, UsageError
from director.report.columns import JOB_COLUMNS, NODE_COLUMNS, Column
from director.report.tables import render_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from director.config.settings import Settings

JOB_STATES = ("queued", "running", "success", "failed", "cancelled", "incomplete")
NODE_STATES = ("online", "offline", "pending", "revoked")


def jobs(settings: Settings) -> int:
    """List jobs, newest last; with ids only those."""
    request = {"do": "list-jobs", **filters(settings, JOB_STATES), "ids": list(settings.words)}
    request["limit"] = 0 if settings.words else settings.limit
    return _show(settings, request, JOB_COLUMNS)


def nodes(settings: Settings) -> int:
    """List nodes; all of them without --limit."""
    request = {"do": "list-nodes", **filters(settings, NODE_STATES)}
    request["limit"] = 0 if settings.sources.get("limit") == "default" else settings.limit
    return _show(settings, request, NODE_COLUMNS)


def filters(settings: Settings, states: Sequence[str]) -> dict[str, Any]:
    """The fields of a request for --state, --since and --node.

    Raises:
        UsageError: a state that is not among `states`.
    """
    for state in settings.state:
        if state not in states:
            raise UsageError(f"--state: {state!r} is none of {', '.join(states)}{nearest(state, states)}")
    since = None if settings.since is None else time.time() - settings.since
    return {"state": list(settings.state), "since": since, "node": settings.node}


def _show(settings: Settings, request: dict[str, Any], columns: Sequence[Column]) -> int:
    with Connection(settings) as connection:
        rows = [row for rows in connection.items(request) for row in rows]
    answer(render_list(rows, columns, settings.output, not settings.no_header))
    return EXIT_OK

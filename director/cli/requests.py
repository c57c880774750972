"""Actions that are one request and one answer: listings, everything known of a job or a node, cancelling, purging."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from director import Any
from director.cli.output import answer, note, screen
from director.cli.server import ask, connect
from director.config.settings import Settings
from director.config.values import nearest
from director.errors import EXIT_OK, UsageError
from director.report.tables import JOB_COLUMNS, JOB_FIELDS, render_list

JOB_STATES = ("queued", "running", "success", "failed", "cancelled", "incomplete")
NODE_STATES = ("online", "offline", "pending", "revoked")


def list_jobs(settings: Settings) -> int:
    """List jobs, newest last; with ids only those."""
    limit = 0 if settings.words else settings.limit
    return listing(
        settings,
        lambda: {"do": "list-jobs", "ids": settings.words, "limit": limit, **_filters(settings, JOB_STATES)},
        as_list(settings, JOB_COLUMNS, JOB_FIELDS),
    )


def list_nodes(settings: Settings) -> int:
    """List nodes; all of them without --limit."""
    from director.report.nodes import render_nodes

    limit = 0 if settings.sources.get("limit") == "default" else settings.limit

    def request() -> dict[str, Any]:
        common = {"do": "list-nodes", "limit": limit, "token": settings.token, **_filters(settings, NODE_STATES)}
        return {**common, "fact": settings.fact} if settings.fact else common

    def render(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
        header = not settings.no_header
        return render_nodes(rows, settings.output, header, screen(), per_node(settings), settings.fact)

    return listing(settings, request, render)


def job_info(settings: Settings) -> int:
    """Show everything known of a job."""
    from director.report.jobs import render_job

    info = narrowing(settings)(ask(settings, {"do": "job-info", "id": settings.words[0]}))
    answer(render_job(info, settings.output, not settings.no_header, screen(), per_node(settings)))
    say_what_next(settings, [info])
    return EXIT_OK


def node_info(settings: Settings) -> int:
    """Show everything known of a node."""
    from director.report.nodes import render_node

    info = ask(settings, {"do": "node-info", "node": settings.words[0]})
    answer(render_node(info, settings.output, not settings.no_header, screen()))
    return EXIT_OK


def cancel_job(settings: Settings) -> int:
    """Stop jobs; a job that is final already is no error. The server answers when the order is on disk."""
    jobs = ask(settings, {"do": "cancel", "ids": settings.words})["jobs"]
    return show(settings, jobs, {"ID": "id", "CANCEL": "was_final"})


def purge_jobs(settings: Settings) -> int:
    """Forget final jobs: those with the ids, or all that match --node, --state and --since."""
    from director.cli.confirm import can_ask, confirm_number

    filters = {"ids": settings.words, **_filters(settings, JOB_STATES)}
    if can_ask(settings):
        count = sum(row["final"] for row in rows_of(settings, {"do": "list-jobs", **filters}))
        confirm_number(settings, count, f"this forgets {count} jobs")
    return _purge(settings, {"do": "purge-jobs", **filters}, "job")


def purge_nodes(settings: Settings) -> int:
    """Forget offline nodes; after a question no others than those that it named."""
    from director.cli.confirm import can_ask, confirm_nodes

    expression = settings.node
    if can_ask(settings):
        request = {"do": "list-nodes", "node": expression, "state": ("offline", "revoked")}
        names = [row["id"] for row in rows_of(settings, request)]
        expression = confirm_nodes(settings, names, "this forgets") or expression
    return _purge(settings, {"do": "purge-nodes", "node": expression}, "node")


def show(
    settings: Settings, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], fields: Sequence[str] = ()
) -> int:
    """Print rows of the server; columns and fields as for `render_list`."""
    answer(render_list(rows, columns, settings.output, not settings.no_header, fields, screen()))
    return EXIT_OK


def listing(
    settings: Settings,
    request: Callable[[], Mapping[str, Any]],
    render: Callable[[Iterable[Mapping[str, Any]]], Iterable[str]],
) -> int:
    """Print the rows of a request, with --watch again and again."""
    if not settings.watch:
        answer(render(rows_of(settings, request())))
        return EXIT_OK
    from director.cli.watch import watch

    return watch(lambda: render(rows_of(settings, request())))


def as_list(
    settings: Settings, columns: Mapping[str, str], fields: Sequence[str]
) -> Callable[[Iterable[Mapping[str, Any]]], Iterable[str]]:
    """What makes text of rows, as the call asks; columns and fields as for `render_list`."""
    return lambda rows: render_list(rows, columns, settings.output, not settings.no_header, fields, screen())


def per_node(settings: Settings) -> bool | None:
    """Whether a table has a row for each node; None when the call does not say."""
    return None if settings.sources.get("per-node", "default") == "default" else settings.per_node


def narrowing(settings: Settings) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """What leaves of a job the tasks that --failed, --step and --node ask for. Raises as `ask`."""
    if not (settings.failed or settings.step or settings.node):
        return lambda job: job
    rows = rows_of(settings, {"do": "list-nodes", "node": settings.node}) if settings.node else []
    nodes = frozenset(row["id"] for row in rows) if settings.node else None

    def narrow(job: Mapping[str, Any]) -> Mapping[str, Any]:
        from director.report.jobs import narrowed

        if settings.step and settings.step > job["step_count"]:
            raise UsageError(f"--step: job {job['id']} has {job['step_count']} steps; they count from 1")
        return narrowed(job, settings.failed, settings.step, nodes)

    return narrow


def say_what_next(settings: Settings, jobs: Iterable[Mapping[str, Any]]) -> None:
    """On a terminal name the next commands for each job that failed."""
    if settings.output == "table" and screen(2).width:
        for job in jobs:
            if job["state"] == "failed":
                more = "" if settings.failed else f"the failures alone: director --job-info {job['id']} --failed; "
                note(f"{more}run again what did not succeed: director --resume {job['id']}")


def rows_of(settings: Settings, request: Mapping[str, Any]) -> list[Any]:
    """The rows of an answer that comes in lists."""
    with connect(settings) as connection:
        return [row for rows in connection.items(request) for row in rows]


def _filters(settings: Settings, states: Sequence[str]) -> dict[str, Any]:
    """The fields of a request for --state, --since and --node.

    Raises:
        UsageError: a state that is not among `states`.
    """
    for state in settings.state:
        if state not in states:
            raise UsageError(f"--state: {state!r} is none of {', '.join(states)}{nearest(state, states)}")
    since = None if settings.since is None else time.time() - settings.since
    return {"state": settings.state, "since": since, "node": settings.node}


def _purge(settings: Settings, request: Mapping[str, Any], what: str) -> int:
    count = ask(settings, request)["count"]
    if settings.output != "table":
        return show(settings, [{"count": count}], {"COUNT": "count"})
    answer((f"forgot {count} {what}{'' if count == 1 else 's'}\n",))
    return EXIT_OK

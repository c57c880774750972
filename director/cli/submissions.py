"""--exec, --orchestrate, --plan and --resume: submit, then print the ids or wait for the jobs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from director import Any
from director.cli.confirm import confirm_job, guard
from director.cli.output import answer, note
from director.cli.server import end_on_signals, patient
from director.config.settings import Settings
from director.config.table import BY_NAME
from director.errors import EXIT_INTERRUPTED, EXIT_OK, DirectorError, UsageError
from director.ids import new_job_id
from director.library.connection import Connection
from director.library.submission import read_file, send, text_of

OPTIONS = ("target", "timeout", "valid-for", "no-cache", "arg", "extend-args", "async", "name")


def run(settings: Settings) -> int:
    """Submit a text or files; a text with `VERB --help` prints the manual instead."""
    if settings.text is not None and "--help" in settings.text:
        from director.cli.manual import manuals

        if pages := manuals(settings):
            answer(pages)
            return EXIT_OK
    request = {"do": "submit", **submission(settings), **guard(settings)}
    return _submit(settings, request, [file["id"] for file in request["files"]])


def resume(settings: Settings) -> int:
    """Submit a job that runs only what did not succeed in another."""
    job = new_job_id()
    request = {"do": "resume", "id": settings.words[0], "new_id": job, "options": options(settings, True)}
    return _submit(settings, {**request, **guard(settings)}, [job])


def plan(settings: Settings) -> int:
    """Show what the files or the text would run where and why; run nothing."""
    from director.report.plans import render_plans

    request = {"do": "plan", **submission(settings)}
    connection, answered = send(settings, request, [], patient(settings), _secrets(settings))
    connection.close()
    plans = answered.get("plans") or [answered]
    for warning in [warning for each in plans for warning in each.get("warnings") or []]:
        note(warning)
    answer(render_plans(plans, settings.words, settings.output, not settings.no_header))
    return EXIT_OK


def _submit(settings: Settings, request: Mapping[str, Any], ids: Sequence[str]) -> int:
    if settings.stream:
        from director.cli.follow import require_rows

        require_rows(settings)
    end_on_signals()
    waits = settings.wait or settings.stream or settings.sources.get("wait-timeout") == "flag"
    deadline = time.monotonic() + settings.wait_timeout if waits and settings.wait_timeout is not None else None
    accepted = False
    try:
        patience, secrets = patient(settings, deadline), _secrets(settings)
        connection, answered = send(settings, request, ids, patience, secrets)
        if "confirm" in answered:
            connection.close()
            confirmed = confirm_job(settings, answered["confirm"])
            connection, answered = send(settings, {**request, **confirmed}, ids, patience, secrets)
        accepted = True
        with connection:
            return _accepted(settings, answered, connection if waits else None)
    except KeyboardInterrupt:
        before = "interrupted before the server's answer; if it was accepted its id is"
        note(f"{'interrupted; accepted as' if accepted else before} {' '.join(ids)}")
        return EXIT_INTERRUPTED


def _accepted(settings: Settings, answered: Mapping[str, Any], connection: Connection | None) -> int:
    """Print the ids, or with a connection wait for the jobs; the exit code."""
    jobs = [str(job["id"]) for job in answered["jobs"]]
    for line in answered["notes"]:
        note(line)
    if connection is not None and settings.stream:
        from director.cli.follow import follow_jobs

        return follow_jobs(settings, jobs, connection)
    if connection is not None:
        from director.cli.waiting import wait

        return wait(settings, jobs, connection)
    from director.report.tables import render_ids

    try:
        answer(render_ids(jobs, settings.output, not settings.no_header))
    except DirectorError as error:
        raise DirectorError(f"{error}; accepted as {' '.join(jobs)}") from error
    return EXIT_OK


def _secrets(settings: Settings) -> dict[str, bytes]:
    """The values of --secret by name. Raises UsageError: one cannot be read."""
    if not settings.secret:
        return {}
    from director.library.secrets import read

    return read(settings.secret)


def submission(settings: Settings) -> dict[str, Any]:
    """The fields of a request of `--exec`, `--orchestrate` or `--plan`.

    Raises:
        UsageError: a file cannot be read or is no text.
    """
    if settings.text is not None:
        files = [text_of(settings.text)]
    else:
        if settings.words.count("-") > 1:
            raise UsageError("standard input (-) can be read only once")
        files = [read_file(name) for name in settings.words]
    return {"files": files, "options": options(settings)}


def options(settings: Settings, only_given: bool = False) -> dict[str, Any]:
    """The options of a request; `only_given` leaves out those that have their default."""
    found = {}
    for name in OPTIONS:
        value = getattr(settings, BY_NAME[name].attribute)
        if not only_given or settings.sources.get(name, "default") != "default":
            key = "args" if name == "arg" else name.replace("-", "_")
            found[key] = list(value) if isinstance(value, tuple) else value
    return found

"""--exec, --orchestrate, --plan and --resume: submissions that are accepted at most once, whatever fails."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from director import Any
from director.cli.connection import ORDERED, Connection, ServerGoneError, again
from director.cli.output import answer, note
from director.cli.patience import Patience, ServerSilentError, end_as_interrupted
from director.cli.submission import Wants, options, submission
from director.config.settings import Settings
from director.errors import EXIT_INTERRUPTED, EXIT_OK, DirectorError, NoServerError, UsageError, WaitTimeoutError
from director.ids import new_job_id

RETRY_SECONDS = 10.0


def run(settings: Settings) -> int:
    """Submit a text or files; a text with `VERB --help` prints the manual instead."""
    if settings.text is not None and "--help" in settings.text:
        from director.cli.manual import manuals

        if pages := manuals(settings):
            answer(pages)
            return EXIT_OK
    request = {"do": "submit", **submission(settings)}
    return _submit(settings, request, [file["id"] for file in request["files"]])


def resume(settings: Settings) -> int:
    """Submit a job that runs only what did not succeed in another."""
    job = new_job_id()
    request = {"do": "resume", "id": settings.words[0], "new_id": job, "options": options(settings, True)}
    return _submit(settings, request, [job])


def plan(settings: Settings) -> int:
    """Show what the files or the text would run where and why; run nothing."""
    from director.report.plans import render_plans

    connection, answered = send(settings, {"do": "plan", **submission(settings)}, [])
    connection.close()
    plans = answered.get("plans") or [answered]
    for warning in [warning for each in plans for warning in each.get("warnings") or []]:
        note(warning)
    answer(render_plans(plans, settings.words, settings.output, not settings.no_header))
    return EXIT_OK


def _submit(settings: Settings, request: Mapping[str, Any], ids: Sequence[str]) -> int:
    end_as_interrupted()
    waits = settings.wait or settings.sources.get("wait-timeout") == "flag"
    deadline = time.monotonic() + settings.wait_timeout if waits and settings.wait_timeout is not None else None
    accepted = False
    try:
        connection, answered = send(settings, request, ids, Patience(settings.server_timeout, deadline))
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
    if connection is not None:
        from director.cli.waiting import wait

        return wait(settings, jobs, connection)
    from director.report.tables import render_ids

    try:
        answer(render_ids(jobs, settings.output, not settings.no_header))
    except DirectorError as error:
        raise DirectorError(f"{error}; accepted as {' '.join(jobs)}") from error
    return EXIT_OK


def send(
    settings: Settings, request: Mapping[str, Any], ids: Sequence[str], patience: Patience | None = None
) -> tuple[Connection, Any]:
    """Send a submission; when the server dies before its answer, send it again with the same ids.

    Returns:
        The connection and the answer.

    Raises:
        NoServerError: no server answers, it is silent, or it did not come back within 10 s.
        WaitTimeoutError: the deadline of `patience` has come.
    """
    connection = Connection(settings, patience)
    patience = connection.patience
    until = 0.0
    while True:
        try:
            return connection, _converse(connection, request)
        except ServerGoneError as error:
            connection.close()
            until = until or time.monotonic() + RETRY_SECONDS
            try:
                connection = again(settings, until, patience)
                request = {**request, "again": True}
            except (NoServerError, WaitTimeoutError):
                raise NoServerError(f"{error.what}; it did not come back within 10 s{_unknown(ids)}") from error
        except BaseException as error:
            connection.close()
            if isinstance(error, (ServerSilentError, WaitTimeoutError)) and patience.request_state == ORDERED:
                raise type(error)(f"{error}{_unknown(ids)}") from error
            raise


def _unknown(ids: Sequence[str]) -> str:
    return f"; whether {' '.join(ids)} was accepted, `director --list-jobs {' '.join(ids)}` will tell" if ids else ""


def _converse(connection: Connection, request: Mapping[str, Any]) -> Any:
    """Send a submission, then the sources that the server wants; the answer."""
    wants = Wants(connection)
    connection.send(request)
    while True:
        header, body = connection.receive()
        if "want" in header:
            wants.begin(header["want"])
        elif "next" in header:
            wants.go_on()
        elif "ok" in header:
            (answer,) = connection.answer(header, body)
            return answer
        else:
            raise UsageError("the server speaks another version of this protocol; use the same for both")

"""--wait and --wait-job: wait until jobs are final, show progress, and name the nodes that are waited for."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

from director import Any, errors
from director.cli.output import answer, note, screen
from director.cli.progress import Display
from director.cli.server import connect, end_on_signals, patient
from director.config.settings import Settings
from director.errors import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_OK, EXIT_WAIT_TIMEOUT
from director.library.connection import Connection, Patience, ServerGoneError, ServerSilentError, again

FIRST_NOTE = 5.0  # seconds until the nodes are named
NEXT_NOTE = 60.0  # seconds between two such notes
AWAY = 60.0  # seconds for a server that has gone to come back
GRACE = 0.7  # seconds for the first sign of life when results are fetched after a wait that was given up
JOB_CODES = {"success": EXIT_OK, "failed": EXIT_FAILED, **dict.fromkeys(("cancelled", "incomplete"), EXIT_INCOMPLETE)}
AGAIN = 2.0  # seconds for a second Ctrl-C
INTERRUPTED = "interrupted; the job goes on ({})"
TIMED_OUT = "--wait-timeout passed; the job goes on"


def wait_job(settings: Settings) -> int:
    """Wait for jobs that were submitted before."""
    end_on_signals()
    limit = settings.wait_timeout
    deadline = None if limit is None else time.monotonic() + limit
    try:
        with connect(settings, patient(settings, deadline)) as connection:
            jobs = dict.fromkeys(whole_id(connection, word) for word in settings.words)
            return wait(settings, list(jobs), connection)
    except errors.WaitTimeoutError:  # before the first progress
        note(TIMED_OUT)
        note(_way_back(settings.words))
        return EXIT_WAIT_TIMEOUT


def _way_back(jobs: Sequence[str]) -> str:
    return f"come back with: director --wait-job {' '.join(jobs)}"


def whole_id(connection: Connection, word: str) -> str:
    """The whole id for a prefix or `last`, which may name another job later."""
    from director.ids import is_job_id

    if is_job_id(word):
        return word
    return str(connection.ask({"do": "list-jobs", "ids": [word]})[0]["id"])


def wait(settings: Settings, jobs: Sequence[str], connection: Connection) -> int:
    """Wait for jobs, as long as the patience of the connection allows, and print their results; the exit code."""
    waiter = _Waiter(settings, jobs)
    connection.patience.note = waiter.display.note
    ended, reason = 0, ""
    try:
        connection = waiter.until_final(connection)
    except errors.WaitTimeoutError:
        ended, reason = EXIT_WAIT_TIMEOUT, TIMED_OUT
    except KeyboardInterrupt:
        ended, reason = EXIT_INTERRUPTED, INTERRUPTED.format(" ".join(jobs))
    finally:
        waiter.display.close()
    if ended:
        note(reason)  # before all else: the terminal may be about to close
    results = _results(settings, jobs, connection, ended)
    return _report(settings, waiter, results, ended)


def _results(settings: Settings, jobs: Sequence[str], connection: Connection, ended: int) -> list[Any]:
    """The results of the jobs; none when the wait was given up and the server is away or silent."""
    if ended and connection.patience.is_silent():
        return []
    try:
        if ended:
            connection.close()
            # a new connection: on the other one more events arrive
            connection = connect(settings, patient(settings, first=min(GRACE, settings.server_timeout)))
        with connection:
            return [connection.ask({"do": "job-info", "id": job}) for job in jobs]
    except errors.NoServerError:
        if not ended:
            raise
        return []


def _report(settings: Settings, waiter: _Waiter, results: Sequence[Any], ended: int) -> int:
    from director.cli.requests import narrowing, per_node, say_what_next
    from director.report.jobs import render_jobs

    try:
        if results:
            narrow = narrowing(settings)
            shown = [narrow(job) for job in results]
            rows = bool(per_node(settings))
            answer(render_jobs(shown, settings.output, not settings.no_header, screen(), rows))
    except errors.DirectorError as error:
        raise errors.DirectorError(f"{error}; {_way_back(waiter.jobs)}") from error
    if not ended:
        say_what_next(settings, results)
        return verdict(results)
    waiter.name_nodes()
    note(_way_back(waiter.jobs))
    if ended == EXIT_INTERRUPTED:
        offer_cancel(settings, waiter.jobs)
    return ended


def say_interrupted(jobs: Sequence[str]) -> None:
    """Say that the jobs go on."""
    note(INTERRUPTED.format(" ".join(jobs)))


def offer_cancel(settings: Settings, jobs: Sequence[str]) -> None:
    """On a terminal, cancel the jobs when Ctrl-C comes again soon and the user says yes."""
    if not (screen(0).width and screen(2).width):
        return
    try:
        note(f"Ctrl-C again within {AGAIN:g} s: cancel")
        time.sleep(AGAIN)
        return
    except KeyboardInterrupt:
        pass
    try:
        sys.stderr.write(f"\rcancel {' '.join(jobs)} everywhere? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            from director.cli.server import ask

            ask(settings, {"do": "cancel", "ids": list(jobs)})
            note("cancel ordered")
    except KeyboardInterrupt:
        note("nothing is cancelled")


def verdict(jobs: Iterable[Mapping[str, Any]]) -> int:
    """The exit code of jobs: 4 when one is not final, else 1 when one failed, else 8 when one is incomplete, else 0."""
    codes = {JOB_CODES.get(job["state"], EXIT_WAIT_TIMEOUT) for job in jobs}
    return next(
        (code for code in (EXIT_WAIT_TIMEOUT, EXIT_FAILED, EXIT_INCOMPLETE) if code in codes),
        EXIT_OK,
    )


class _Waiter:
    """Follows the events of a wait until all jobs are final."""

    def __init__(self, settings: Settings, jobs: Sequence[str]) -> None:

        self._settings = settings
        self.jobs = list(jobs)
        self.display = Display(settings.quiet)
        self._progress: dict[str, Any] = {}
        self._named_at = 0.0  # monotonic, the last time
        self._halted: set[tuple[str, str]] = set()  # as of `_halted`, at that time
        self._note_at = time.monotonic() + FIRST_NOTE

    def until_final(self, connection: Connection) -> Connection:
        """The connection on which the wait ended; a new one when the server was away."""
        while True:
            try:
                connection.send({"do": "wait", "ids": self.jobs})
                self._follow(connection)
                return connection
            except ServerGoneError as error:
                connection.close()
                connection = self._come_back(error, connection.patience)
            except ServerSilentError as error:
                raise ServerSilentError(f"{error}; the job goes on; {_way_back(self.jobs)}") from error

    def _come_back(self, error: ServerGoneError, patience: Patience) -> Connection:
        self.display.note(f"{error.what}; waiting for it to come back")
        try:
            connection = again(self._settings, time.monotonic() + AWAY, patience)
        except (errors.NoServerError, errors.WaitTimeoutError):
            back = f"director --wait-job {' '.join(self.jobs)}"
            raise errors.NoServerError(f"the server has not come back; once it has, `{back}` waits on") from error
        self.display.note("the server is back")
        return connection

    def _follow(self, connection: Connection) -> None:
        while True:
            now = time.monotonic()
            if now >= self._note_at:
                self.name_nodes()
                self._note_at = now + NEXT_NOTE
            if not connection.ready(self._note_at - now):
                continue
            header, body = connection.receive()
            if not header.get("more"):
                return
            self._progress = json.loads(body)
            if self._named_at and _halted(self._progress) - self._halted:
                self._note_at = min(self._note_at, self._named_at + FIRST_NOTE)  # name a newly halted node soon
            self.display.show(self._progress)

    def name_nodes(self) -> None:
        """Name on stderr the nodes that are waited for."""
        from director.report.waiting import waiting_lines

        self._named_at, self._halted = time.monotonic(), _halted(self._progress)
        lines = waiting_lines(self._progress) or [f"waiting for job {' '.join(self.jobs)}"]
        for line in lines:
            self.display.note(line)


def _halted(progress: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The nodes that are waited for and cannot go on, and why."""
    rows = progress.get("waiting") or ()
    return {(row["node"], row["why"]) for row in rows if row["why"] in ("silent", "offline") or row.get("stuck")}

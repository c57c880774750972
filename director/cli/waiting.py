"""--wait and --wait-job: until jobs are final, with word of what is waited for and a way back."""

from __future__ import annotations

import time

from director.cli.connection import Connection, ServerGoneError, again
from director.cli.interrupts import end_as_interrupted
from director.cli.output import answer, decode, note
from director.cli.patience import Patience, ServerSilentError
from director.errors import (
    EXIT_FAILED,
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_WAIT_TIMEOUT,
    DirectorError,
    NoServerError,
    WaitTimeoutError,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from director.config.settings import Settings

FIRST_NOTE = 5.0
NEXT_NOTE = 60.0
AWAY = 60.0  # how long a server that has gone is waited for
GRACE = 0.7  # how long the server may take for a first sign of life when a wait that was given up asks what is known
JOB_CODES = {
    "success": EXIT_OK, "failed": EXIT_FAILED, "cancelled": EXIT_INCOMPLETE, "incomplete": EXIT_INCOMPLETE
}  # fmt: skip
TIMED_OUT = "--wait-timeout passed; the job goes on"


def wait_job(settings: Settings) -> int:
    """Wait for jobs that were submitted before."""
    end_as_interrupted()
    limit = settings.wait_timeout
    deadline = None if limit is None else time.monotonic() + limit
    try:
        with Connection(settings, Patience(settings.server_timeout, deadline)) as link:
            return wait(settings, list(dict.fromkeys(_whole_id(link, word) for word in settings.words)), link)
    except WaitTimeoutError:  # before anything was known of the jobs
        note(TIMED_OUT)
        note(_way_back(settings.words))
        return EXIT_WAIT_TIMEOUT


def _way_back(jobs: Sequence[str]) -> str:
    return f"come back with: director --wait-job {' '.join(jobs)}"


def _whole_id(link: Connection, word: str) -> str:
    """Settled at once: `last` and a prefix may mean another job by the time this one has ended."""
    from director.ids import is_job_id

    if is_job_id(word):
        return word
    return str(link.ask({"do": "list-jobs", "ids": [word]})[0]["id"])


def wait(settings: Settings, jobs: Sequence[str], link: Connection) -> int:
    """Wait for jobs, as long as the link's patience has it, and print their results; the exit code."""
    waiter = _Waiter(settings, jobs)
    link.patience.note = waiter.display.note
    ended, said = 0, ""
    try:
        link = waiter.until_final(link)
    except WaitTimeoutError:
        ended, said = EXIT_WAIT_TIMEOUT, TIMED_OUT
    except KeyboardInterrupt:
        ended, said = EXIT_INTERRUPTED, f"interrupted; the job goes on ({' '.join(jobs)})"
    finally:
        waiter.display.close()
    if ended:
        note(said)  # first of all: the terminal may be about to close
    results = _results(settings, jobs, link, ended)
    return _report(settings, waiter, results, ended)


def _results(settings: Settings, jobs: Sequence[str], link: Connection, ended: int) -> list[Any]:
    """What is known of the jobs; nothing when the wait was given up and the server is away or silent."""
    if ended and link.patience.is_silent():
        return []
    try:
        if ended:
            link.close()
            # the other connection has events on their way
            link = Connection(settings, Patience(settings.server_timeout, first=min(GRACE, settings.server_timeout)))
        with link:
            return [link.ask({"do": "job-info", "id": job}) for job in jobs]
    except NoServerError:
        if not ended:
            raise
        return []


def _report(settings: Settings, waiter: _Waiter, results: Sequence[Any], ended: int) -> int:
    from director.report.jobs import render_jobs

    try:
        if results:
            answer(render_jobs(results, settings.output, not settings.no_header))
    except DirectorError as error:
        raise DirectorError(f"{error}; {_way_back(waiter.jobs)}") from error
    if not ended:
        return verdict(results)
    waiter.tell()
    note(_way_back(waiter.jobs))
    return ended


def verdict(jobs: Iterable[Mapping[str, Any]]) -> int:
    """The exit code of jobs: that of the worst state, of which a job that is not final has the first place."""
    codes = {JOB_CODES.get(job["state"], EXIT_WAIT_TIMEOUT) for job in jobs}
    return next((code for code in (EXIT_WAIT_TIMEOUT, EXIT_FAILED, EXIT_INCOMPLETE) if code in codes), EXIT_OK)


class _Waiter:
    """Follows the server's events until all jobs are final."""

    def __init__(self, settings: Settings, jobs: Sequence[str]) -> None:
        from director.cli.display import Display

        self._settings = settings
        self.jobs = list(jobs)
        self.display = Display()
        self._progress: dict[str, Any] = {}
        self._told = 0.0  # monotonic, when the nodes were named last
        self._halted: set[tuple[str, str]] = set()  # those of them that did not go on then, and why
        self._note_at = time.monotonic() + FIRST_NOTE

    def until_final(self, link: Connection) -> Connection:
        """The connection on which the server said that all are final; it may be a new one."""
        while True:
            try:
                link.send({"do": "wait", "ids": self.jobs})
                self._follow(link)
                return link
            except ServerGoneError as error:
                link.close()
                link = self._come_back(error, link.patience)
            except ServerSilentError as error:
                raise ServerSilentError(f"{error}; the job goes on; {_way_back(self.jobs)}") from error

    def _come_back(self, error: ServerGoneError, patience: Patience) -> Connection:
        self.display.note(f"{error.what}; waiting for it to come back")
        try:
            link = again(self._settings, time.monotonic() + AWAY, patience)
        except (NoServerError, WaitTimeoutError):
            back = f"director --wait-job {' '.join(self.jobs)}"
            raise NoServerError(f"the server has not come back; once it has, `{back}` waits on") from error
        self.display.note("the server is back")
        return link

    def _follow(self, link: Connection) -> None:
        while True:
            now = time.monotonic()
            if now >= self._note_at:
                self.tell()
                self._note_at = now + NEXT_NOTE
            if not link.ready(self._note_at - now):
                continue
            header, body = link.receive()
            if not header.get("more"):
                return
            self._progress = decode(body)
            if self._told and _halted(self._progress) - self._halted:
                self._note_at = min(self._note_at, self._told + FIRST_NOTE)  # news: no minute is waited for it
            self.display.show(self._progress)

    def tell(self) -> None:
        """Name on stderr what is waited for."""
        from director.report.waiting import waiting_lines

        self._told, self._halted = time.monotonic(), _halted(self._progress)
        lines = waiting_lines(self._progress) or [f"waiting for job {' '.join(self.jobs)}"]
        for line in lines:
            self.display.note(line)


def _halted(progress: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The nodes that are waited for and do not answer or cannot go on, and why."""
    rows = progress.get("waiting") or ()
    return {(row["node"], row["why"]) for row in rows if row["why"] in ("silent", "offline") or row.get("stuck")}

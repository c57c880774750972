"""--wait and --wait-job: until jobs are final, with word of what is waited for and a way back."""

from __future__ import annotations

import time

from director.cli.link import Link, ServerGoneError, again
from director.cli.output import answer, decode, note
from director.errors import EXIT_INTERRUPTED, EXIT_WAIT_TIMEOUT, NoServerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from director.options import Settings

FIRST_NOTE = 5.0
NEXT_NOTE = 60.0
SILENCE = 60.0  # the server sends word every 2 s; after this long it counts as gone
AWAY = 60.0  # how long a server that has gone is waited for


def wait_job(settings: Settings) -> int:
    """Wait for jobs that were submitted before."""
    with Link(settings) as link:
        return wait(settings, list(dict.fromkeys(_whole_id(link, word) for word in settings.words)), link)


def _whole_id(link: Link, word: str) -> str:
    """Settled at once: `last` and a prefix may mean another job by the time this one has ended."""
    from director.ids import is_job_id

    if is_job_id(word):
        return word
    _, body = link.ask({"do": "list-jobs", "ids": [word], "limit": 0})
    return str(decode(body)[0]["id"])


def wait(settings: Settings, jobs: Sequence[str], link: Link) -> int:
    """Wait for jobs, print their results; the exit code."""
    waiter = _Waiter(settings, jobs)
    try:
        link = waiter.until_final(link)
        ended = 0
    except _TimedOut:
        ended = EXIT_WAIT_TIMEOUT
    except KeyboardInterrupt:
        ended = EXIT_INTERRUPTED
    finally:
        waiter.display.close()
    results = _results(settings, jobs, link, ended)
    return _report(settings, waiter, results, ended)


def _results(settings: Settings, jobs: Sequence[str], link: Link, ended: int) -> list[Any]:
    """What is known of the jobs; nothing when the wait was given up and the server is away."""
    try:
        if ended:
            link.close()
            link = Link(settings)  # the other connection has events on their way
        with link:
            return [decode(link.ask({"do": "job-info", "id": job})[1]) for job in jobs]
    except NoServerError:
        if not ended:
            raise
        return []


def _report(settings: Settings, waiter: _Waiter, results: Sequence[Any], ended: int) -> int:
    from director.report import render_jobs, verdict

    if results:
        answer(render_jobs(results, settings.output, not settings.no_header))
    if not ended:
        return verdict(results)
    note("interrupted; the job goes on" if ended == EXIT_INTERRUPTED else "--wait-timeout passed; the job goes on")
    waiter.tell()
    note(f"come back with: director --wait-job {' '.join(waiter.jobs)}")
    return ended


class _TimedOut(Exception):
    pass


class _Waiter:
    """Follows the server's events until all jobs are final."""

    def __init__(self, settings: Settings, jobs: Sequence[str]) -> None:
        from director.cli.display import Display

        self._settings = settings
        self.jobs = list(jobs)
        self.display = Display()
        self._progress: dict[str, Any] = {}
        self._told = 0.0  # monotonic, when the nodes were named last
        self._away: set[str] = set()  # those of them that did not answer then
        begun = time.monotonic()
        self._note_at = begun + FIRST_NOTE
        limit = settings.wait_timeout
        self._deadline = float("inf") if limit is None else begun + limit

    def until_final(self, link: Link) -> Link:
        """The connection on which the server said that all are final; it may be a new one."""
        while True:
            try:
                link.send({"do": "wait", "ids": self.jobs})
                self._follow(link)
                return link
            except ServerGoneError as error:
                link.close()
                link = self._come_back(error)

    def _come_back(self, error: ServerGoneError) -> Link:
        self.display.note(f"{error.what}; waiting for it to come back")
        until = time.monotonic() + AWAY
        try:
            link = again(self._settings, min(until, self._deadline))
        except NoServerError:
            back = f"director --wait-job {' '.join(self.jobs)}"
            raise NoServerError(f"the server has not come back; once it has, `{back}` waits on") from error
        self.display.note("the server is back")
        return link

    def _follow(self, link: Link) -> None:
        heard = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= self._deadline:
                raise _TimedOut
            if now >= self._note_at:
                self.tell()
                self._note_at = now + NEXT_NOTE
            if now - heard > SILENCE:
                raise ServerGoneError(f"the server has said nothing for {SILENCE:g} s")
            if not link.ready(min(self._deadline, self._note_at, heard + SILENCE + 1) - now):
                continue
            header, _ = link.receive()
            heard = time.monotonic()
            if header.get("final"):
                return
            self._progress = header.get("progress") or {}
            if self._told and _away(self._progress) - self._away:
                self._note_at = min(self._note_at, self._told + FIRST_NOTE)  # news: no minute is waited for it
            self.display.show(self._progress)

    def tell(self) -> None:
        """Name on stderr what is waited for."""
        from director.report import waiting_lines

        self._told, self._away = time.monotonic(), _away(self._progress)
        lines = waiting_lines(self._progress) or [f"waiting for job {' '.join(self.jobs)}"]
        for line in lines:
            self.display.note(line)


def _away(progress: Mapping[str, Any]) -> set[str]:
    """The nodes that are waited for and do not answer."""
    return {str(row["node"]) for row in progress.get("waiting") or () if row["why"] in ("silent", "offline")}

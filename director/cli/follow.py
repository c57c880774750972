"""--follow and --stream: the output of a job as it comes, from its start, on over a restart of the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from director import Any, errors
from director.cli.output import note, screen, stream
from director.cli.server import connect, end_on_signals
from director.cli.waiting import AWAY, TIMED_OUT, offer_cancel, say_interrupted, verdict, whole_id
from director.config.settings import Settings
from director.errors import EXIT_INTERRUPTED, EXIT_WAIT_TIMEOUT
from director.library.connection import Connection, Patience, ServerGoneError, again
from director.report.follow import Joined, Lines

FIRST, SEVERAL = 4, 22  # empty answers, which come every 2.7 seconds, until the first note and the next one


def follow(settings: Settings) -> int:
    """Show the output of a job from its start until it ends; the exit code is that of --wait."""
    require_rows(settings)
    end_on_signals()
    with connect(settings) as connection:
        job = whole_id(connection, settings.words[0])
        return follow_jobs(settings, [job], connection)


def require_rows(settings: Settings) -> None:
    """Check that the form of the answer can be written as it comes. Raises UsageError."""
    if settings.output not in ("table", "jsonl"):
        raise errors.UsageError(f"--output {settings.output}: output that comes line by line is table or jsonl")


def follow_jobs(settings: Settings, jobs: list[str], connection: Connection) -> int:
    """Show the output of jobs one after another, as long as the patience of the connection allows; the exit code."""
    found = []
    for job in jobs:
        follower = _Follower(settings, job)
        try:
            connection = follower.until_final(connection)
            found.append(follower.summary(connection))
        except errors.WaitTimeoutError:
            note(TIMED_OUT)
            note(f"come back with: director --follow {job}")
            return EXIT_WAIT_TIMEOUT
        except KeyboardInterrupt:
            say_interrupted([job])
            note(f"come back with: director --follow {job}")
            offer_cancel(settings, jobs)
            return EXIT_INTERRUPTED
    return verdict(found)


class _Follower:
    """Follows one job over any number of connections; what came before is not shown again."""

    def __init__(self, settings: Settings, job: str) -> None:
        self._settings, self._job = settings, job
        self._joined = Joined(job)
        self._show: Callable[[Mapping[str, Any]], Iterator[str]] | None = None

    def until_final(self, connection: Connection) -> Connection:
        """Show what comes until the job has ended; the connection on which it did."""
        while True:
            try:
                self._show = self._show or self._shown_by(self._row(connection))
                self._read(connection)
                return connection
            except ServerGoneError as error:
                connection.close()
                connection = self._come_back(error, connection.patience)

    def summary(self, connection: Connection) -> Mapping[str, Any]:
        """Show how the job has ended; its row."""
        from director.report.jobs import job_line

        row = self._row(connection)
        if self._settings.output == "table":
            stream([job_line(row, screen())])
        else:
            from director.report.formats import to_json

            stream([to_json({"job": row["id"], "state": row["state"], "tasks": row["tasks"]}) + "\n"])
        return row

    def _row(self, connection: Connection) -> Any:
        return connection.ask({"do": "list-jobs", "ids": [self._job]})[0]

    def _read(self, connection: Connection) -> None:
        step = None if self._settings.step is None else self._settings.step - 1
        connection.send({"do": "follow", "id": self._job, "node": self._settings.node, "step": step})
        empty = 0
        for items in connection.answer(*connection.receive()):
            empty = 0 if items else empty + 1
            if empty and empty % SEVERAL == FIRST and not self._settings.quiet:
                note(f"nothing new; `director --why {self._job}` says what the job waits for")
            for item in items:
                for row in self._joined.take(item):
                    assert self._show is not None
                    stream(self._show(row))

    def _shown_by(self, job: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Iterator[str]]:
        """What makes text of a row, in the form that the call asks for."""
        if self._settings.output == "table":
            return Lines(job["step_count"] > 1, screen()).take
        from director.report.formats import to_json

        return lambda row: iter((to_json(row) + "\n",))

    def _come_back(self, error: ServerGoneError, patience: Patience) -> Connection:
        note(f"{error.what}; waiting for it to come back")
        try:
            connection = again(self._settings, time.monotonic() + AWAY, patience)
        except (errors.NoServerError, errors.WaitTimeoutError):
            raise errors.NoServerError(
                f"the server has not come back; once it has, `director --follow {self._job}` shows the rest"
            ) from error
        note("the server is back")
        return connection

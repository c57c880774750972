"""`director.connect()`: the object with which a program commands the fleet, and its jobs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from director.ids import new_job_id
from director.library import records
from director.library.connection import Connection, Patience, ServerGoneError, again
from director.library.records import Event, JobRow, Node, Output, Result
from director.library.submission import read_file, send, text_of

if TYPE_CHECKING:
    from typing import TypedDict

    from typing_extensions import Unpack

    class Options(TypedDict, total=False):
        """The options of a submission; those that are left out have the defaults of the command line.

        Attributes:
            target: an expression, or several, whose union is meant.
            timeout: seconds for each task.
            valid_for: seconds that a task may wait for its node.
            no_cache: run every step, cached or not.
            args: values of ARGs.
            extend_args: they append to lists and merge mappings.
            name: of the job.
            expect_nodes: refuse the job (NoTargetError) when it is for another number of nodes.
            secrets: the values for the steps that name them.
        """

        target: str | Sequence[str]
        timeout: float
        valid_for: float
        no_cache: bool
        args: Mapping[str, str]
        extend_args: bool
        name: str
        expect_nodes: int
        secrets: Mapping[str, str | bytes]


AWAY = 60.0  # seconds for a server that has gone to come back
SOCKET = "DIRECTOR_SOCKET_PATH"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the server is, see `connection.Place`."""

    socket_path: str | None
    state_dir: str | None
    server_timeout: float


class Director:
    """A server, for a program on its machine. Use it in a `with`, from any number of threads or greenlets.

    Each call has a connection of its own. Every method raises a `DirectorError`: NoServerError when no server answers
    within `timeout`, NotPermittedError when the user may not do it, and what it says itself.

    Args:
        path: the operator's socket; None: that of DIRECTOR_SOCKET_PATH, else the first that answers of those that
            `director --socket-path` names.
        state_dir: the server's state folder, in which the socket may be; None for the usual ones.
        timeout: seconds without a sign of life of the server after which a call ends.
    """

    def __init__(self, path: str | None = None, *, state_dir: str | None = None, timeout: float = 15.0) -> None:
        self._place = Place(path or os.environ.get(SOCKET) or None, state_dir, timeout)
        self.version = str(self._ask({"do": "hello"})["version"])

    def __enter__(self) -> Director:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def exec(self, text: str, **options: Unpack[Options]) -> Job:
        """Submit instructions, and return when the job is on disk.

        Args:
            text: of the DSL, a step a line.

        Raises:
            UsageError: the text, a source or an option is wrong. NoTargetError: a target is.
        """
        return self._submit(text_of(text), options)

    def orchestrate(self, file: str | os.PathLike[str], **options: Unpack[Options]) -> Job:
        """Submit an orchestration file; as `exec`."""
        return self._submit(read_file(os.fspath(file)), options)

    def resume(self, job: str, **options: Unpack[Options]) -> Job:
        """Submit a job that runs only what did not succeed in a final one.

        Raises:
            NotFoundError: there is no such job. UsageError: it is not final. NoTargetError: the target leaves no node.
        """
        new = new_job_id()
        return self._send({"do": "resume", "id": job, "new_id": new}, new, options)

    def plan(self, text: str, **options: Unpack[Options]) -> Mapping[str, Any]:
        """What instructions would run where and why, as `director --plan --output json`; nothing runs."""
        request, secrets = _request({"do": "plan", "files": [text_of(text)]}, options)
        connection, answer = send(self._place, request, [], None, secrets)
        connection.close()
        found: Mapping[str, Any] = answer
        return found

    def jobs(
        self, *, state: str | Sequence[str] = (), since: float | None = None, node: str | None = None, limit: int = 100
    ) -> list[JobRow]:
        """Jobs, the newest last.

        Args:
            state: only these states.
            since: only those that were created in the last so many seconds.
            node: only those on nodes of this expression.
            limit: the newest so many; 0 for all.
        """
        return list(map(records.job_row, self._rows("list-jobs", state, since, node=node, limit=limit)))

    def nodes(
        self, node: str | None = None, *, state: str | Sequence[str] = (), since: float | None = None
    ) -> list[Node]:
        """Nodes by name; those of an expression, in these states, heard in the last so many seconds."""
        return list(map(records.node, self._rows("list-nodes", state, since, node=node)))

    def node(self, name: str) -> Node:
        """One node with its facts. Raises NotFoundError: there is no such node."""
        return records.node(self._ask({"do": "node-info", "node": name}))

    def job(self, id: str = "last") -> Job:
        """A job by its id, the unique beginning of one, or `last`. Raises NotFoundError: there is no such job."""
        (row,) = self._ask({"do": "list-jobs", "ids": [id]})
        return Job(self, row["id"], row["name"])

    def _rows(self, do: str, state: str | Sequence[str], since: float | None, **fields: Any) -> list[Any]:
        states = [state] if isinstance(state, str) else list(state)
        after = None if since is None else time.time() - since
        with Connection(self._place) as connection:
            items = connection.items({"do": do, "state": states, "since": after, **fields})
            return [row for rows in items for row in rows]

    def _ask(self, request: Mapping[str, Any]) -> Any:
        with Connection(self._place) as connection:
            return connection.ask(request)

    def _submit(self, file: dict[str, Any], options: Options) -> Job:
        return self._send({"do": "submit", "files": [file]}, str(file["id"]), options)

    def _send(self, request: dict[str, Any], job: str, options: Options) -> Job:
        request, secrets = _request(request, options)
        connection, answer = send(self._place, request, [job], None, secrets)
        connection.close()
        return Job(self, job, answer["jobs"][0]["name"], tuple(answer["notes"]))

    def _stream(self, request: Mapping[str, Any], deadline: float | None) -> Iterator[Any]:
        """The items of an answer that goes on until a job is final; a server that goes away is asked again."""
        patience = Patience(self._place.server_timeout, deadline)
        connection = Connection(self._place, patience)
        while True:
            try:
                with connection:
                    yield from connection.items(request)
                    return
            except ServerGoneError:
                connection = again(self._place, time.monotonic() + AWAY, patience)


class Job:
    """A job that was submitted.

    Attributes:
        id: its id.
        name: its name.
        notes: what the server noted when it accepted it.
    """

    def __init__(self, director: Director, id: str, name: str, notes: tuple[str, ...] = ()) -> None:
        self.id, self.name, self.notes = id, name, notes
        self._director = director

    def __repr__(self) -> str:
        return f"Job({self.id!r}, {self.name!r})"

    def follow(self, timeout: float | None = None) -> Iterator[Event]:
        """Each progress, at least every two seconds, to the last event, which is final.

        Raises:
            WaitTimeoutError: so many seconds have passed; the job goes on.
            NoServerError: the server went away, and did not come back within a minute.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for progress in self._director._stream({"do": "wait", "ids": [self.id]}, deadline):
            for row in progress["jobs"]:
                waiting = tuple(one for one in progress["waiting"] if one["job"] == self.id)
                yield Event(row["id"], row["state"], row["tasks"], waiting)
        (row,) = self._director._ask({"do": "list-jobs", "ids": [self.id]})
        yield Event(row["id"], row["state"], row["tasks"])

    def output(
        self, node: str | None = None, step: int | None = None, timeout: float | None = None
    ) -> Iterator[Output]:
        """What its tasks write, from the start, as it comes; also of a job that has ended.

        Args:
            node: only of the nodes of this expression.
            step: only of the step with this index.

        Raises:
            WaitTimeoutError, NoServerError: as `follow`. NoTargetError: there is no such node.
        """
        from director.report.follow import Joined

        joined = Joined(self.id)
        request = {"do": "follow", "id": self.id, "node": node, "step": step}
        deadline = None if timeout is None else time.monotonic() + timeout
        for items in self._director._stream(request, deadline):
            for item in items:
                yield from map(records.output, joined.take(item))

    def wait(self, timeout: float | None = None) -> Result:
        """Wait until it is final; as `follow`, then as `result`."""
        for _ in self.follow(timeout):
            pass
        return self.result()

    def result(self) -> Result:
        """Everything known of it now."""
        return records.result(self._director._ask({"do": "job-info", "id": self.id}))

    def cancel(self) -> bool:
        """End it everywhere; returns when the order is on disk. False when it was final already."""
        return not self._director._ask({"do": "cancel", "ids": [self.id]})["jobs"][0]["was_final"]

    def resume(self, **options: Unpack[Options]) -> Job:
        """See `Director.resume`."""
        return self._director.resume(self.id, **options)


def _request(request: dict[str, Any], options: Options) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A request with the options of a submission, and the values of its secrets."""
    given: dict[str, Any] = dict(options)
    secrets = given.pop("secrets", {})
    values = {name: text.encode() if isinstance(text, str) else text for name, text in secrets.items()}
    expect = given.pop("expect_nodes", None)
    if isinstance(given.get("target"), str):
        given["target"] = [given["target"]]
    guard = {} if expect is None else {"guard": {"expect": expect}}
    return {**request, "options": given, **guard}, values

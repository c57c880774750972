"""The planner processes: gives each plan to the least busy one, sends them the roster, repeats plans of a dead one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import gevent
import ujson

from director import errors
from director.errors import UsageError
from director.runtime.greenlets import spawn
from director.server.roster import NodeRecord, Roster
from director.workers.supervisor import Request, Supervisor, WorkerDiedError

log = logging.getLogger(__name__)

TRIES = 3
PATIENCE = 10.0  # seconds that a plan waits for a planner to start again
PLAN_SECONDS = 600  # that a plan may take
WAITING_LIMIT = 2000  # plans at a time, running or waiting
FRAME_BYTES = 8 * 1024 * 1024  # of the roster that go in one frame
Part = tuple[list[Any], bytes, list[int]]


class Sources(Protocol):
    """The files that a submission names, from where its caller has them."""

    def fetch(self, want: Mapping[str, Any]) -> Generator[Part, None, None]:
        """The files of one source, in parts; it is closed when the rest is not wanted.

        Args:
            want: `base`, the folder; `pattern`, a path or glob; `exclude`, `hidden` and `parents` as the flags of COPY.

        Returns:
            Parts of entries `{path, kind, mode, size, target, name, packed}` (see `director.verbs.base.Entry`). The
            bytes of those with `packed`, at most 32 KiB each, follow one another in the second element, at most about
            1 MiB; for each other entry of kind `file` there is an open descriptor, at most 200; the server closes them.

        Raises:
            UsageError: the source cannot be read; the planner adds the line that names it.
        """

    def seal(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Secrets of the caller, sealed for some nodes.

        Args:
            question: `job`; `secrets`, by name the ranges of steps that may use it; `keys`, in base64, of the nodes.

        Returns:
            `boxes`, one for each key, and `secrets`, by name encrypted, of those that no earlier answer had; in base64.

        Raises:
            UsageError: the caller cannot. DirectorError: it has left.
        """


class NoSources:
    """Sources of a caller that has none."""

    def fetch(self, want: Mapping[str, Any]) -> Generator[Part, None, None]:
        """Raises UsageError."""
        raise UsageError("no files came with this request")

    def seal(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises UsageError."""
        raise UsageError("no secrets came with this request")


NO_SOURCES = NoSources()


class PlannerPool:
    """`count` planner processes.

    Args:
        hello: settings of the processes.
        fatal: gets the reason when one of them never gets ready.
    """

    def __init__(self, count: int, hello: dict[str, Any], roster: Roster, fatal: Callable[[str], None]) -> None:
        self._roster = roster
        self._dirty: dict[str, NodeRecord | None] = {}
        self.children = [
            Supervisor(
                f"planner {number}", "director.workers.planner", hello,
                on_ready=self._on_ready, fatal=fatal,
            )
            for number in range(1, count + 1)
        ]  # fmt: skip

    def plan(self, request: Mapping[str, Any], sources: Sources) -> tuple[dict[str, Any], list[bytes]]:
        """The plan's meta and its chunks of encoded steps.

        Raises:
            BusyError: too many plans are being made, the plan takes too long, or planners die of it.
            DirectorError: what the planner raised.
        """
        return self._make({"plan": request}, sources)

    def manual(self, verb: str) -> str:
        """The manual of a verb, own verbs included. Raises UsageError: there is no such verb; BusyError."""
        meta, _ = self._make({"manual": verb}, NO_SOURCES)
        return str(meta["manual"])

    def note(self, name: str, record: NodeRecord | None) -> None:
        """A node changed, or is gone (None); planners get that before any later plan."""
        self._dirty[name] = record

    # -- inside -------------------------------------------------------------------------------------------

    def _make(self, header: dict[str, Any], sources: Sources) -> tuple[dict[str, Any], list[bytes]]:
        if sum(len(child.requests) for child in self.children) >= WAITING_LIMIT:
            raise errors.BusyError(f"{WAITING_LIMIT} submissions are being planned; try again in a moment")
        for _ in range(TRIES):
            try:
                return self._plan_once(header, sources)
            except WorkerDiedError:
                log.warning("a planner process ended during a plan; the plan is made again")
        raise errors.BusyError(f"{TRIES} planner processes ended while they planned this; nothing was accepted")

    def _plan_once(self, header: dict[str, Any], sources: Sources) -> tuple[dict[str, Any], list[bytes]]:
        if not self.wait_ready(PATIENCE):
            raise errors.BusyError(f"no planner process could be started for {PATIENCE:g} s; try again later")
        self._flush_roster()
        with min(self.children, key=lambda child: (not child.ready, len(child.requests))).request(header) as plan:
            return _follow(plan, sources)

    def _flush_roster(self) -> None:
        if not self._dirty:
            return
        dirty, self._dirty = self._dirty, {}
        for header in _deltas(dirty.items()):
            for child in self.children:
                if child.ready:
                    child.send(header)

    def _on_ready(self, child: Supervisor) -> None:
        for header in _deltas(self._roster.nodes.items()):
            child.send(header)

    def wait_ready(self, timeout: float) -> bool:
        """Whether a planner is ready within `timeout` seconds."""
        return bool(gevent.wait([child.running for child in self.children], timeout, count=1))

    def stop(self) -> None:
        """End all planners."""
        gevent.joinall([spawn(f"end of {child.name}", child.stop, 1.0, vital=False) for child in self.children])


def _follow(plan: Request, sources: Sources) -> tuple[dict[str, Any], list[bytes]]:
    """Send the planner the files that it wants; the meta and the chunks at the end."""
    chunks: list[bytes] = []
    spec, parts = 0, _no_parts()
    try:
        while True:
            header, body = plan.next(PLAN_SECONDS)
            if plan.ended:
                return header["planned"], chunks
            if "chunk" in header:
                chunks.append(body)
                continue
            if "want" in header:
                parts.close()
                spec, parts = header["want"]["spec"], sources.fetch(header["want"])
            answer, body, fds = _next_part(parts)
            plan.worker.send({"source": plan.number, "spec": spec, **answer}, body, fds)
    finally:
        parts.close()


def _no_parts() -> Generator[Part, None, None]:
    yield from ()


def _next_part(parts: Iterator[Part]) -> tuple[dict[str, Any], bytes, list[int]]:
    """The next part of a source as it goes to a planner, with its bytes and descriptors; the last one is empty."""
    try:
        entries, body, fds = next(parts, ([], b"", []))
    except UsageError as error:
        return {"error": str(error)}, b"", []
    return {"entries": entries, "last": not entries}, body, fds


def _deltas(items: Iterable[tuple[str, NodeRecord | None]]) -> Iterator[str]:
    """Frames that describe these nodes to a planner, each of a bounded size; at least one."""
    nodes: list[str] = []
    size = 0
    gone: list[str] = []
    revoked: list[str] = []
    for name, record in items:
        if record is None or record.revoked:
            (gone if record is None else revoked).append(name)
            continue
        nodes.append(ujson.dumps((name, record.online, record.labels, record.facts)))
        size += len(nodes[-1])
        if size > FRAME_BYTES:
            yield _delta(nodes)
            nodes, size = [], 0
    yield _delta(nodes, gone, revoked)


def _delta(nodes: Sequence[str], gone: Sequence[str] = (), revoked: Sequence[str] = ()) -> str:
    return f'{{"nodes":[{",".join(nodes)}],"gone":{ujson.dumps(gone)},"revoked":{ujson.dumps(revoked)}}}'
